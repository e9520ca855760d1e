"""CUDA without a GPU: the words of CUDA C++ for g++, blocks run one after the other.

A block's threads are fibers that take turns from barrier to barrier, so what the text says
about shared memory and ``__syncthreads`` is really carried out; a barrier that only some of
a block's threads reach ends the run with an error.
"""

import ctypes
import re
import shutil
import subprocess
from functools import partial

import numpy as np

GXX = shutil.which("g++")

WORDS = r"""
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>
#include <utility>
#include <vector>
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(n)
struct Three { unsigned x, y, z; };
static Three threadIdx, blockIdx, blockDim, gridDim;
static ucontext_t back;
static std::vector<ucontext_t> fibers;
static std::vector<char> state, stacks;  // 0: runs; 1: at a barrier; 2: ended.
static void __syncthreads() {
  state[threadIdx.x] = 1;
  swapcontext(&fibers[threadIdx.x], &back);
}
template <typename T> T atomicAdd(T *place, T x) { T old = *place; *place += x; return old; }
static int atomicCAS(int *place, int expected, int x) {
  int old = *place;
  if (old == expected) *place = x;
  return old;
}
static void (*run_one)(void *);
static void *run_with;
static void fiber() { run_one(run_with); state[threadIdx.x] = 2; }
template <typename... A> struct Call {
  void (*function)(A...);
  void **arguments;
  template <size_t... I> void run(std::index_sequence<I...>) { function((A)arguments[I]...); }
  static void one(void *self) { ((Call *)self)->run(std::index_sequence_for<A...>()); }
};
static const size_t STACK = 1 << 16;
template <typename... A>
void start(void (*function)(A...), void **arguments, int gx, int gy, int threads) {
  Call<A...> call{function, arguments};
  run_one = Call<A...>::one, run_with = &call;
  gridDim = {(unsigned)gx, (unsigned)gy, 1}, blockDim = {(unsigned)threads, 1, 1};
  fibers.resize(threads), state.resize(threads), stacks.resize(threads * STACK);
  for (int y = 0; y < gy; ++y) for (int x = 0; x < gx; ++x) {
    blockIdx = {(unsigned)x, (unsigned)y, 0};
    for (int t = 0; t < threads; ++t) {
      getcontext(&fibers[t]);
      fibers[t].uc_stack = {&stacks[t * STACK], 0, STACK};
      fibers[t].uc_link = &back;
      state[t] = 0;
      makecontext(&fibers[t], fiber, 0);
    }
    for (int ended = 0; ended < threads;) {
      int waiting = 0;
      ended = 0;
      for (int t = 0; t < threads; ++t) {
        if (state[t] != 2) { threadIdx = {(unsigned)t, 0, 0}; swapcontext(&back, &fibers[t]); }
        ended += state[t] == 2, waiting += state[t] == 1;
      }
      if (ended && waiting) { fprintf(stderr, "a barrier some threads miss\n"); abort(); }
    }
  }
}
"""


class HostDevice:
    """What :class:`workbench.arrays.Gpu` is, with g++ and NumPy in its place.

    Attributes
    ----------
    log : list of str
        Names of the functions, products and recordings that were started.
    """

    def __init__(self, folder):
        self.folder, self.log = folder, []

    def put(self, array):
        return np.array(array, order="C").view(OnDevice)

    def holds(self, array):
        return isinstance(array, OnDevice)

    def wait(self):
        pass

    def module(self, source):
        functions = re.findall(r'extern "C" __global__ void (?:\S+ )?(\w+)\(', source)
        starts = "".join(
            f'extern "C" void start_{name}(void **a, int x, int y, int n) {{ start({name}, a, x, y, n); }}\n'
            for name in functions
        )
        library = ctypes.CDLL(str(compiled(WORDS + source + starts, self.folder)))

        def find(name):
            return partial(self._start, name, getattr(library, f"start_{name}"))

        return find

    def _start(self, name, function, grid, block, arguments):
        assert all(x.flags.c_contiguous for x in arguments)
        self._do(name, lambda: function(
            (ctypes.c_void_p * len(arguments))(*(x.ctypes.data for x in arguments)),
            *grid[:2], block[0]))  # fmt: skip

    def gemm(self, a, b, out, trans_a, trans_b, alpha, beta):
        def work():
            x, y = (z.swapaxes(-1, -2) if t else z for z, t in ((a, trans_a), (b, trans_b)))
            out[...] = out.dtype.type(alpha) * np.matmul(x, y) + (out if beta else 0)

        self._do("gemm", work)

    def _do(self, name, work):
        self.log.append(name)
        work()

    def record(self, work):
        def start():
            mark = len(self.log)
            work()
            self.log[mark:] = ["graph"]

        return start


class OnDevice(np.ndarray):
    """An array that counts as one of the device's."""


def compiled(source, folder, options=("-O0", "-shared", "-fPIC", "-w")):
    """Return the library that g++ makes of a text."""
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    text, library = folder / f"m{number}.cpp", folder / f"m{number}.so"
    text.write_text(source)
    subprocess.run([GXX, "-std=c++17", *options, "-o", library, text], check=True,
                   capture_output=True, text=True)  # fmt: skip
    return library
