#pragma once
#include <array>
#include <cassert>
#include <cstddef>

namespace kl {

/// Non-owning, row-major, contiguous tensor view.  View<float, 3> s{p, {H, V, K}} reads as "S [H, V, K]".
template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::array<std::ptrdiff_t, Rank> shape{};

  constexpr std::ptrdiff_t dim(int axis) const { return shape[static_cast<std::size_t>(axis)]; }

  constexpr std::ptrdiff_t size() const {
    std::ptrdiff_t n = 1;
    for (const std::ptrdiff_t d : shape) n *= d;
    return n;
  }

  /// Slice along the leading axis: S[h] of [H, V, K] is [V, K].
  constexpr decltype(auto) operator[](std::ptrdiff_t i) const {
    assert(0 <= i && i < shape[0]);
    if constexpr (Rank == 1) {
      return (data[i]);
    } else {
      View<T, Rank - 1> sub;
      std::ptrdiff_t step = 1;
      for (std::size_t a = 1; a < Rank; ++a) step *= (sub.shape[a - 1] = shape[a]);
      sub.data = data + i * step;
      return sub;
    }
  }
};

}  // namespace kl
