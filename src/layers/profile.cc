#include "kl/profile.h"

namespace kl {

const char* name_of(ModelPart part) {
  switch (part) {
    case ModelPart::kProjections:
      return "projections";
    case ModelPart::kExperts:
      return "experts";
    case ModelPart::kRouter:
      return "router";
    case ModelPart::kKda:
      return "kda";
    case ModelPart::kMla:
      return "mla";
    case ModelPart::kHead:
      return "head";
    case ModelPart::kRest:
      break;
  }
  return "norms and rest";
}

void Cost::operator+=(const Cost& other) {
  seconds += other.seconds;
  bytes += other.bytes;
  for (std::size_t i = 0; i < ops.size(); ++i) ops[i] += other.ops[i];
}

Cost Profile::total() const {
  Cost sum;
  for (const Cost& part : parts) sum += part;
  return sum;
}

}  // namespace kl
