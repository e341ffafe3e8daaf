"""Vectors of numbers that numba kernels keep in registers.

The compiler vectorises plain loops, but reads and writes the sum in memory at every step. With
these operations a kernel holds it in registers over a loop of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

from snnsim.kernels import plain_vector
from snnsim.kernels.plain_vector import LANES, NARROW, WIDTH


class Vector(types.Type):
    """Numba's type of ``width`` numbers of ``dtype``."""

    def __init__(self, dtype: Any, width: int):
        self.dtype, self.width = dtype, width
        super().__init__(f"Vector({dtype}, {width})")

    @property
    def llvm(self) -> ir.VectorType:
        number = ir.FloatType() if self.dtype == types.float32 else ir.DoubleType()
        return ir.VectorType(number, self.width)


class Words(NamedTuple):
    """``Words`` are ``width`` whole numbers that lie together in memory."""

    dtype: Any
    width: int

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.dtype.bitwidth), self.width)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector):
        super().__init__(manager, fe_type, fe_type.llvm)


def _address(context, builder, vector, array_type, array, index):
    whole = make_array(array_type)(context, builder, array)
    if context.enable_boundscheck:
        last = builder.add(index, ir.Constant(index.type, vector.width - 1))
        for end in (index, last):
            cgutils.do_boundscheck(context, builder, end, whole.nitems, 0)
    data = whole.data
    place = builder.gep(data, [index])
    return builder.bitcast(place, vector.llvm.as_pointer())


def _alignment(array_type) -> int:
    return array_type.dtype.bitwidth // 8


def _check(array: Any, index: Any) -> None:
    whole: Any = types.Integer
    flat = isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    if not flat or array.dtype not in (types.float32, types.float64):
        raise TypingError(f"a contiguous 1-d array of floats is needed, not {array}")
    if not isinstance(index, whole) or index.bitwidth != 64:
        raise TypingError(f"a 64-bit index is needed, not {index}")


def _loader(width: int) -> Any:
    @intrinsic
    def load(typing, array, index):
        """``array[index : index + width]``; bounds are checked under NUMBA_BOUNDSCHECK only."""
        _check(array, index)
        vector = Vector(array.dtype, width)

        def generate(context, builder, signature, args):
            place = _address(context, builder, vector, array, *args)
            return builder.load(place, align=_alignment(array))

        return vector(array, index), generate

    return load


@intrinsic
def store(typing, array, index, vector):
    """Write the vector at ``array[index:]``; bounds are checked under NUMBA_BOUNDSCHECK only."""
    _check(array, index)

    def generate(context, builder, signature, args):
        place = _address(context, builder, vector, array, args[0], args[1])
        builder.store(args[2], place, align=_alignment(array))
        return context.get_dummy_value()

    return types.void(array, index, vector), generate


def _spread(builder, kind, scalar):
    """A vector all of whose numbers are one."""
    undefined, number = ir.Constant(kind, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(undefined, scalar, ir.Constant(number, 0))
    everywhere = ir.Constant(ir.VectorType(number, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, everywhere)


@intrinsic
def fma(typing, scalar, vector, addend):
    """``scalar * vector + addend``."""

    def generate(context, builder, signature, args):
        product = builder.fmul(_spread(builder, vector.llvm, args[0]), args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return addend(scalar, vector, addend), generate


@intrinsic
def multiply_add(typing, a, b, addend):
    """``a * b + addend`` of three vectors."""

    def generate(context, builder, signature, args):
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return addend(a, b, addend), generate


@intrinsic
def zeros_like(typing, array):
    """``WIDTH`` zeros of the array's number type."""
    vector = Vector(array.dtype, WIDTH)

    def generate(context, builder, signature, args):
        return ir.Constant(vector.llvm, None)

    return vector(array), generate


@intrinsic
def total(typing, vector):
    """The sum, by halving the vector."""

    def generate(context, builder, signature, args):
        value, count = args[0], vector.width
        number = ir.IntType(32)
        while count > 1:
            count //= 2
            halves = [
                builder.shuffle_vector(
                    value,
                    ir.Constant(value.type, ir.Undefined),
                    ir.Constant(ir.VectorType(number, count), list(range(start, start + count))),
                )
                for start in (0, count)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(number, 0))

    return vector.dtype(vector), generate


# --- sums of 16 steps of 16 samples ---------------------------------------------------------------


@intrinsic
def spread(typing, scalar):
    """``scalar`` in all sums of a block, ``LANES`` steps of ``LANES`` samples each."""
    vector = Vector(scalar, LANES * LANES)

    def generate(context, builder, signature, args):
        return _spread(builder, vector.llvm, args[0])

    return vector(scalar), generate


@intrinsic
def add_where(typing, words, index, scalar, sums):
    """Add ``scalar`` to the sums of those samples and steps whose bits are set.

    Bit ``j`` of ``words[index + s]`` is that of sample ``j`` at step ``s``. With AVX-512 this is a
    masked addition per step, whose mask is loaded.
    """
    whole: Any = types.Array
    if not isinstance(words, whole) or words.dtype != types.uint16 or words.ndim != 1:
        raise TypingError(f"words are a 1-d array of uint16, not {words}")

    def generate(context, builder, signature, args):
        packed = Words(words.dtype, LANES)
        place = _address(context, builder, packed, words, args[0], args[1])
        bits = builder.load(place, align=2)
        mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), sums.width))
        more = builder.fadd(args[3], _spread(builder, sums.llvm, args[2]))
        return builder.select(mask, more, args[3])

    return sums(words, index, scalar, sums), generate


@intrinsic
def store_steps(typing, array, index, stride, sums):
    """Write the sums of step ``s`` of a block at ``array[index + s * stride:]``."""
    _check(array, index)
    part = Vector(array.dtype, LANES)

    def generate(context, builder, signature, args):
        undefined, number = ir.Constant(sums.llvm, ir.Undefined), ir.IntType(32)
        for step in range(LANES):
            which = ir.Constant(
                ir.VectorType(number, LANES), list(range(step * LANES, (step + 1) * LANES))
            )
            values = builder.shuffle_vector(args[3], undefined, which)
            further = builder.mul(args[2], ir.Constant(args[2].type, step))
            place = builder.add(args[1], further)
            builder.store(
                values, _address(context, builder, part, array, args[0], place),
                align=_alignment(array),
            )  # fmt: skip
        return context.get_dummy_value()

    return types.void(array, index, stride, sums), generate


load, load_narrow = _loader(WIDTH), _loader(NARROW)

settings: Any = config
if settings.DISABLE_JIT:  # kernels then run as plain Python
    for name in (
        "load", "load_narrow", "store", "fma", "multiply_add", "zeros_like", "total", "spread",
        "add_where", "store_steps",
    ):  # fmt: skip
        globals()[name] = getattr(plain_vector, name)
