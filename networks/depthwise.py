"""Convolutions of each channel by itself (depthwise), whose gradients take oneDNN's fast ways on a CPU."""
import torch
import torch.nn.functional as F

WIDEST = 3  # columns of a kernel; a wider one's gradient takes oneDNN several times as long


class Depthwise(torch.autograd.Function):
    """F.conv2d with groups = channels and no bias, the same up to rounding; only its gradients are computed otherwise.

    oneDNN finds a kernel's gradient fast if it has at most WIDEST columns, so a wider one's is found in strips; and
    the gradient of a strided convolution's input fast in float32 alone. Both gradients in bfloat16, two cores: 128 ms
    in place of 296 for 5 x 5 over 128 channels of 64 x 64, 88 in place of 240 for 3 x 3 of stride 2 over 96 channels of
    128 x 128, 32 images each.
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
            kind = torch.float32 if max(context.stride) > 1 else gradient.dtype
            of_x = _backward(gradient.to(kind), x.to(kind), weight.to(kind), context.stride, context.padding,
                             [True, False, False])[0].to(x.dtype)
        if context.needs_input_grad[1]:
            of_weight = _of_weight(gradient, x.to(gradient.dtype), weight, context.stride, context.padding)
        return of_x, of_weight, None, None


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
