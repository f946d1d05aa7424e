#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "encodings/stored_matrix.h"
#include "kl/error.h"
#include "kl/safetensors.h"

namespace kl {

/// The tensors of a checkpoint as an encoding sees them: what it asks for counts as used, what it dislikes is gathered.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  /// nullptr if there is no such tensor.
  virtual const FileTensor* find(const std::string& name) = 0;

  /// `what` reads "expected X, got Y".  At most one complaint about a tensor is told.
  virtual void complain(ErrorCode code, const std::string& tensor, const std::string& what) = 0;
};

/// What an encoding found of a module.
struct StoredModule {
  bool is_encoded = false;                     ///< false: look for a plain tensor instead
  std::shared_ptr<const StoredMatrix> matrix;  ///< null, after a complaint, if it is encoded and no good
};

/// A way in which a checkpoint stores matrices in other than single floats: which tensors make one, and with what settings.
///
/// How       One file per family in this folder.  A checkpoint has at most one of them; plain tensors may lie beside its.
class Encoding {
 public:
  Encoding() = default;
  virtual ~Encoding() = default;
  Encoding(const Encoding&) = delete;
  Encoding& operator=(const Encoding&) = delete;

  /// The family, for people: "MLX".
  virtual std::string_view name() const = 0;

  /// The weight of `module`, say "model.layers.0.mlp.up_proj", which the model needs in `shape`: [rows, cols], or
  /// [count, rows, cols] where a tensor stacks experts or heads.
  virtual StoredModule find(const std::string& module, const std::vector<std::int64_t>& shape,
                            TensorSource& source) const = 0;

  /// Complains about settings of modules that do not exist; `is_module` knows all names a module may have.
  virtual void check_modules(const std::function<bool(std::string_view)>& is_module, TensorSource& source) const;
};

inline void Encoding::check_modules(const std::function<bool(std::string_view)>&, TensorSource&) const {}

}  // namespace kl
