"""Vectors of numbers that numba kernels keep in registers.

The compiler vectorises plain loops, but reads and writes the sum in memory at every step. With
these operations a kernel holds it in registers over a loop of its own.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

from snnsim.kernels import plain_vector
from snnsim.kernels.plain_vector import NARROW, WIDTH


class Vector(types.Type):
    """Numba's type of ``width`` numbers of ``dtype``."""

    def __init__(self, dtype: Any, width: int):
        self.dtype, self.width = dtype, width
        super().__init__(f"Vector({dtype}, {width})")

    @property
    def llvm(self) -> ir.VectorType:
        number = ir.FloatType() if self.dtype == types.float32 else ir.DoubleType()
        return ir.VectorType(number, self.width)


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


@intrinsic
def fma(typing, scalar, vector, addend):
    """``scalar * vector + addend``."""

    def generate(context, builder, signature, args):
        kind, width = vector.llvm, vector.width
        undefined = ir.Constant(kind, ir.Undefined)
        number = ir.IntType(32)
        first = builder.insert_element(undefined, args[0], ir.Constant(number, 0))
        everywhere = ir.Constant(ir.VectorType(number, width), [0] * width)
        spread = builder.shuffle_vector(first, undefined, everywhere)
        product = builder.fmul(spread, args[1], flags=("contract",))
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


load, load_narrow = _loader(WIDTH), _loader(NARROW)

settings: Any = config
if settings.DISABLE_JIT:  # kernels then run as plain Python
    for name in ("load", "load_narrow", "store", "fma", "multiply_add", "zeros_like", "total"):
        globals()[name] = getattr(plain_vector, name)
