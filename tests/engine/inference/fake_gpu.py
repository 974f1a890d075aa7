"""A GPU that is none: NVIDIA's runtime and TensorRT as the product calls them, on the processor.

Memory is real memory, an engine is the graph in ONNX Runtime, and our own kernels are their twins
in numpy, so pictures come out. Work is
queued and done when somebody waits for it, as on a stream. What CUDA and TensorRT demand is
asserted: copies between blocks that exist, page-locked memory for copies that nobody waits for, no
freeing of what queued work still needs, and a context of the shapes it was recorded with. Every
call is counted, and any can be made to fail; freeing is done all the same then, for CUDA reports
there what an earlier call has broken.
"""

import ctypes
import functools
import itertools
import re
import weakref
from collections import Counter
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import onnxruntime

from engine.inference.kernel_twins import TWINS

WORKING_BYTES = 4096
"""Of every engine."""


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


def counted(returns=0, frees=False):
    """Make a method a call of the runtime, which returns a status and ``returns`` results."""

    def wrap(method):
        @functools.wraps(method)
        def called(self, *arguments):
            fails = self.fails(method.__name__)
            if fails and not frees:
                if method.__name__ == "cudaStreamSynchronize":
                    self.queued[arguments[0]].clear()  # what a broken stream held is never done
                if method.__name__ == "cudaStreamEndCapture":
                    self.captured = None
                return (Status.cudaErrorMemoryAllocation, *[0] * returns)
            result = method(self, *arguments)
            status = Status.cudaErrorMemoryAllocation if fails else Status.cudaSuccess
            return (status, result) if returns else (status,)

        return called

    return wrap


class FakeCuda:
    """``cuda.bindings.runtime``, and what is used of ``driver`` and ``nvrtc`` beside it."""

    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down", cudaMemcpyDeviceToDevice="on"
    )

    def __init__(self, fails_at=None, from_then_on=False):
        self.fails_at, self.from_then_on = fails_at, from_then_on
        self.calls, self.counts, self.bytes = 0, Counter(), Counter()
        self.held = {}
        """Address or handle -> (kind, memory or work): what was given out and not taken back."""
        self._handles = itertools.count(1)  # below any address
        self.queued = {}
        """Stream -> work."""
        self.captured = None
        self.refused = ""
        """The call of CUDA's that was the first to fail."""
        self.objects = weakref.WeakSet()
        """TensorRT's contexts."""

    def fails(self, name):
        self.calls += 1
        self.counts[name] += 1
        if self.fails_at is None or self.calls < self.fails_at:
            return False
        if self.calls == self.fails_at and name.startswith(("cu", "nvrtc")):
            self.refused = name
        return self.calls == self.fails_at or self.from_then_on

    def sizes(self, kind):
        return sum(len(memory) for held, memory in self.held.values() if held == kind)

    @counted(returns=1)
    def cudaGetDeviceCount(self):
        return 1

    @counted(returns=1)
    def cudaGetDeviceProperties(self, device):
        return SimpleNamespace(name=b"None at all\0", major=8, minor=9)

    @counted(returns=1)
    def cudaDriverGetVersion(self):
        return 13000

    @counted(returns=1)
    def cudaStreamCreateWithFlags(self, flags):
        stream = self._open("stream")
        self.queued[stream] = []
        return stream

    @counted(returns=1)
    def cudaHostAlloc(self, size, flags):
        return self._give("page-locked", size)

    @counted(returns=1)
    def cudaMalloc(self, size):
        return self._give("device", size)

    @counted()
    def cudaMemcpy(self, dst, src, count, kind):
        assert kind == "up"
        self.inside(dst, count, "device")
        ctypes.memmove(dst, src, count)

    @counted()
    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        source, target = {
            "up": ("page-locked", "device"),
            "down": ("device", "page-locked"),
            "on": ("device", "device"),
        }[kind]

        def copy():
            self.inside(src, count, source)
            self.inside(dst, count, target)
            ctypes.memmove(dst, src, count)
            self.bytes[kind] += count

        self.queue(stream, copy)

    @counted()
    def cudaStreamBeginCapture(self, stream, mode):
        self.captured = []

    @counted(returns=1)
    def cudaStreamEndCapture(self, stream):
        captured, self.captured = self.captured, None
        return self._open("recording", captured)

    @counted(returns=1)
    def cudaGraphInstantiate(self, graph, flags):
        return self._open("graph", self.held[graph][1])

    @counted()
    def cudaGraphLaunch(self, graphExec, stream):
        for work in self.held[graphExec][1]:
            self.queue(stream, work)

    @counted()
    def cudaStreamSynchronize(self, stream):
        assert self.captured is None, "a stream that is recorded cannot be waited for"
        queued, self.queued[stream] = self.queued[stream], []
        for work in queued:
            work()

    @counted(frees=True)
    def cudaStreamDestroy(self, stream):
        assert not self.queued.pop(stream)
        self._free(stream, "stream")

    @counted(frees=True)
    def cudaFree(self, devPtr):
        self._free(devPtr, "device")

    @counted(frees=True)
    def cudaFreeHost(self, ptr):
        self._free(ptr, "page-locked")

    @counted(frees=True)
    def cudaGraphDestroy(self, graph):
        self._free(graph, "recording")

    @counted(frees=True)
    def cudaGraphExecDestroy(self, graphExec):
        self._free(graphExec, "graph")

    @counted(returns=1)
    def nvrtcGetSupportedArchs(self):
        return [75, 86, 120]

    @counted(returns=1)
    def nvrtcCreateProgram(self, src, name, numHeaders, headers, includeNames):
        return self._open("program", src)

    @counted()
    def nvrtcCompileProgram(self, prog, numOptions, options):
        assert options == [b"--gpu-architecture=sm_86"]  # the newest that runs on 8.9

    @counted(returns=1)
    def nvrtcGetProgramLogSize(self, prog):
        return 4

    @counted()
    def nvrtcGetProgramLog(self, prog, log):
        if log:
            ctypes.memmove(log, b"no.\0", 4)

    @counted(returns=1)
    def nvrtcGetCUBINSize(self, prog):
        return len(self.held[prog][1])

    @counted()
    def nvrtcGetCUBIN(self, prog, cubin):
        ctypes.memmove(cubin, self.held[prog][1], len(self.held[prog][1]))

    @counted(frees=True)
    def nvrtcDestroyProgram(self, prog):
        self._free(prog, "program")

    @counted(returns=1)
    def cuLibraryLoadData(
        self, code, jitOptions, jitValues, numJitOptions, options, values, numOptions
    ):
        return self._open("library", re.findall(rb"__global__ void (\w+)\(", code))

    @counted(returns=1)
    def cuLibraryGetKernel(self, library, name):
        assert name in self.held[library][1]
        return library, name.decode()

    @counted(returns=1)
    def cuKernelGetFunction(self, kernel):
        return kernel

    @counted()
    def cuLaunchKernel(self, f, gx, gy, gz, bx, by, bz, shared, hStream, kernelParams, extra):
        (library, name), grid = f, (gx, gy, gz)
        types, twin = TWINS[name]
        given = (ctypes.c_void_p * len(types)).from_address(kernelParams)
        values = [_copied(kind, one) for kind, one in zip(types, given, strict=True)]

        def run():
            assert library in self.held, "the library of a kernel is gone"
            twin(self, grid, *values)

        self.queue(hStream, run)

    @counted(frees=True)
    def cuLibraryUnload(self, library):
        self._free(library, "library")

    def view(self, address, shape, dtype):
        """Return memory of the GPU, as a kernel has it."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.inside(address, count, "device")
        memory = (ctypes.c_uint8 * count).from_address(address)
        return np.frombuffer(memory, dtype).reshape(shape)

    def queue(self, stream, work):
        (self.queued[stream] if self.captured is None else self.captured).append(work)

    def inside(self, address, count, kind):
        """Check that a block of the kind holds ``count`` bytes from there on."""
        blocks = [(at, len(memory)) for at, (held, memory) in self.held.items() if held == kind]
        fits = [at <= address and address + count <= at + size for at, size in blocks]
        assert any(fits), f"{count} bytes at {address} are not in {kind} memory"

    def _open(self, kind, work=()):
        handle = next(self._handles)
        self.held[handle] = (kind, work)
        return handle

    def _give(self, kind, size):
        memory = ctypes.create_string_buffer(size)
        self.held[ctypes.addressof(memory)] = (kind, memory)
        return ctypes.addressof(memory)

    def _free(self, address, kind):  # work that is queued looks for its memory when it is done
        assert self.held.pop(address)[0] == kind


def _copied(kind, address):
    copied = kind.from_buffer_copy((ctypes.c_uint8 * ctypes.sizeof(kind)).from_address(address))
    return getattr(copied, "value", copied)


@functools.cache
def _session(graph):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(float16)": "float16"}


class FakeEngine:
    """``ICudaEngine``."""

    device_memory_size_v2 = WORKING_BYTES

    def __init__(self, cuda, graph):
        self._cuda, self.session = cuda, _session(graph)
        self.takes = [node.name for node in self.session.get_inputs()]
        self.ports = {n.name: n for n in [*self.session.get_inputs(), *self.session.get_outputs()]}
        self.num_io_tensors = len(self.ports)

    def get_tensor_name(self, index):
        return list(self.ports)[index]

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self.ports[name].shape)

    def get_tensor_dtype(self, name):
        return _TYPES[self.ports[name].type]

    def get_tensor_mode(self, name):
        return "input" if name in self.takes else "output"

    def create_runtime_config(self):
        return SimpleNamespace(set_execution_context_allocation_strategy=lambda strategy: None)

    def create_execution_context(self, how):
        return (
            None if self._cuda.fails("create_execution_context") else FakeContext(self, self._cuda)
        )


class FakeContext:
    """``IExecutionContext``."""

    def __init__(self, engine, cuda):
        self._engine, self._cuda = engine, cuda
        self._shapes, self._addresses, self._memory = {}, {}, None
        cuda.objects.add(self)

    def set_device_memory(self, memory, size):
        assert size >= WORKING_BYTES
        self._memory = memory

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return not self._cuda.fails("set_tensor_address")

    def set_input_shape(self, name, shape):
        self._shapes[name] = tuple(shape)
        return not self._cuda.fails("set_input_shape")

    def execute_async_v3(self, stream_handle):
        if self._cuda.fails("execute_async_v3"):
            return False
        shapes, context = dict(self._shapes), weakref.ref(self)

        def work():
            alive = context()
            assert alive is not None, "the context of a recording is gone"
            assert alive._shapes == shapes, "a context has other shapes than when it was recorded"
            alive._run()

        self._cuda.queue(stream_handle, work)
        return True

    def _run(self):
        self._cuda.inside(self._memory, WORKING_BYTES, "device")
        rows = {shape[0] for shape in self._shapes.values()}
        assert len(rows) == 1
        feeds = {name: self._array(name, *rows) for name in self._engine.takes}
        outputs = [name for name in self._engine.ports if name not in feeds]
        made = self._engine.session.run(outputs, feeds)
        for name, array in zip(outputs, made, strict=True):
            self._array(name, *rows)[...] = array

    def _array(self, name, rows):
        shape = (rows, *self._engine.get_tensor_shape(name)[1:])
        dtype = np.dtype(self._engine.get_tensor_dtype(name))
        return self._cuda.view(self._addresses[name], shape, dtype)


class _Config(SimpleNamespace):
    def __init__(self):
        super().__init__(num_compute_capabilities=0, progress_monitor=None)

    def set_memory_pool_limit(self, pool, size): ...
    def clear_flag(self, flag): ...
    def add_optimization_profile(self, profile): ...
    def set_timing_cache(self, cache, ignore_mismatch): ...
    def create_timing_cache(self, serialized): ...

    def get_timing_cache(self):
        return SimpleNamespace(serialize=lambda: b"timings")


class _Network:
    graph = b""

    @property
    def num_inputs(self):
        return len(_session(self.graph).get_inputs())

    def get_input(self, index):
        node = _session(self.graph).get_inputs()[index]
        shape = [size if isinstance(size, int) else -1 for size in node.shape]
        return SimpleNamespace(name=node.name, shape=shape)


class _Parser:
    num_errors = 0

    def __init__(self, network, logger):
        self._network = network

    def parse(self, graph):
        self._network.graph = graph
        return True


def fake_tensorrt(cuda, name="tensorrt"):
    """Return the module of that name for that runtime; an engine is its ONNX graph."""

    class Logger:
        Severity = SimpleNamespace(ERROR=1)

        def __init__(self): ...

    class Builder:
        def __init__(self, logger): ...

        def create_network(self, flags):
            return _Network()

        def create_builder_config(self):
            return _Config()

        def create_optimization_profile(self):
            return SimpleNamespace(set_shape=lambda name, *sizes: None)

        def build_serialized_network(self, network, config):
            return None if cuda.fails("build_serialized_network") else network.graph

    class Runtime:
        def __init__(self, logger): ...

        def deserialize_cuda_engine(self, engine):
            return None if cuda.fails("deserialize") else FakeEngine(cuda, engine)

    return SimpleNamespace(
        __name__=name,
        __version__="11.0",
        __spec__=ModuleSpec(name, None),
        ILogger=Logger,
        IProgressMonitor=type("IProgressMonitor", (), {}),
        Builder=Builder,
        Runtime=Runtime,
        OnnxParser=_Parser,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
        MemoryPoolType=SimpleNamespace(WORKSPACE=0),
        BuilderFlag=SimpleNamespace(TF32=0),
        TensorIOMode=SimpleNamespace(INPUT="input"),
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE=1),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=2),
        nptype=np.dtype,
    )
