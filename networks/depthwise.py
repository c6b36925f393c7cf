"""Convolutions of each channel by itself (depthwise), whose gradients take oneDNN's fast ways on a CPU."""
import torch
import torch.nn.functional as F

WIDEST = 3  # columns of a kernel; a wider one's gradient takes oneDNN several times as long


class Depthwise(torch.autograd.Function):
    """F.conv2d with groups = channels and no bias, the same up to rounding; only its gradients are computed otherwise.

    oneDNN finds a kernel's gradient fast if it has at most WIDEST columns, so a wider one's is found in strips; and in
    bfloat16 the gradient of a strided convolution's input is found as a convolution of stride 1, which it does fast.
    """

    @staticmethod
    def forward(context, x, weight, stride, padding):
        """x (B, C, H, W), weight (C, 1, k, l), stride and padding (vertical, horizontal) -> (B, C, h, w)."""
        context.save_for_backward(x, weight)
        context.stride, context.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        of_x = of_weight = None
        if context.needs_input_grad[0]:
            kernel = weight.to(gradient.dtype)
            if gradient.dtype == torch.bfloat16 and max(context.stride) > 1:
                of_x = _of_strided_input(gradient, x.shape, kernel, context.stride, context.padding)
            else:
                of_x = _backward(gradient, x.to(gradient.dtype), kernel, context.stride, context.padding,
                                 [True, False, False])[0]
            of_x = of_x.to(x.dtype)
        if context.needs_input_grad[1]:
            of_weight = _of_weight(gradient, x.to(gradient.dtype), weight, context.stride, context.padding)
        return of_x, of_weight, None, None


def _of_strided_input(gradient, shape, weight, stride, padding):
    """The gradient's places as far apart as those that they were seen from, zeros between them, convolved with the
    turned kernel."""
    (batch, channels, height, width), (rows, columns) = shape, weight.shape[2:]
    apart = gradient.new_zeros(batch, height + rows - 1, width + columns - 1, channels).permute(0, 3, 1, 2)
    top, left = rows - 1 - padding[0], columns - 1 - padding[1]
    bottom, right = (start + (side - 1) * step + 1 for start, side, step in
                     zip((top, left), gradient.shape[2:], stride))
    apart[:, :, top:bottom:stride[0], left:right:stride[1]] = gradient
    return F.conv2d(apart, weight.flip(2, 3), groups=channels)


def _of_weight(gradient, x, weight, stride, padding):
    columns = weight.shape[3]
    if columns > WIDEST:
        x, padding = F.pad(x, (padding[1], padding[1])), (padding[0], 0)
    strips = []
    for first in range(0, columns, WIDEST):
        wide = min(WIDEST, columns - first)
        reach = (gradient.shape[3] - 1) * stride[1] + wide  # what these columns see of x
        seen = x if columns <= WIDEST else x.narrow(3, first, reach).contiguous(memory_format=torch.channels_last)
        strip = weight[..., first:first + wide].to(gradient.dtype)
        strips.append(_backward(gradient, seen, strip, stride, padding, [False, True, False])[1])
    return torch.cat(strips, 3).to(weight.dtype)


def _backward(gradient, x, weight, stride, padding, wanted):
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, list(stride), list(padding), [1, 1], False,
                                               [0, 0], len(weight), wanted)
