import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.space.architecture import RESIZE, Block
from models.space.operators import OPERATORS, canonical, cells, memory
from models.space.operators.base import OperatorError


def peak(block: Block) -> int:
    return memory.activation_bytes(OPERATORS[block.operator], block, cells(block))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_the_peak_does_not_depend_on_the_size_of_the_tensors_that_stand_in(
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(sorted(OPERATORS)))
    operator = OPERATORS[name]
    values = {key: data.draw(st.sampled_from(known)) for key, known in operator.settings.items()}
    channels, size = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 40))
    width, stride = data.draw(st.sampled_from([channels, 8])), data.draw(st.integers(1, 2))
    if name == RESIZE:
        width, stride = channels, 1
    block = Block(name, channels, width, size, stride, canonical(name, values))
    try:
        found = peak(block)
    except OperatorError:
        return  # too few channels for this operator
    with pytest.MonkeyPatch.context() as patch:
        # Larger stand-in sizes, possibly including the real size.
        patch.setattr(memory, "_STAND_INS", (37, 41, 43, 47))
        assert peak(block) == found
