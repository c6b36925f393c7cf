"""A training that is stopped at a chosen step, as by Ctrl-C."""


def interrupt(patch, script, epoch, batch=0, batches="batches"):
    """Have a training script stop once it has drawn a batch.

    patch    pytest's MonkeyPatch, which takes it back
    epoch    which of all that begin while it is patched, from 1
    batch    of that epoch, from 0
    batches  name of the script's function that draws an epoch's
    Returns  a list that gets an item for each epoch begun, then and later
    """
    real, begun = getattr(script, batches), []

    def stopping(*arguments):
        begun.append(1)
        last = len(begun) == epoch
        for number, drawn in enumerate(real(*arguments)):
            if last and number == batch:
                raise KeyboardInterrupt
            yield drawn

    patch.setattr(script, batches, stopping)
    return begun
