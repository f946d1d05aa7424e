#pragma once
// Reads golden arrays without the code under test: a safetensors file is a length, a JSON header, and bytes.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace kl::test {

/// One array, every element widened to double (exact for all types goldens use).
struct Array {
  std::vector<std::int64_t> shape;
  std::vector<double> values;
};

inline std::map<std::string, Array> read_arrays(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + file.string());
  std::uint64_t length = 0;
  in.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string header(length, '\0');
  in.read(header.data(), static_cast<std::streamsize>(length));
  const std::string data{std::istreambuf_iterator<char>(in), {}};
  std::map<std::string, Array> arrays;
  const nlohmann::json tensors = nlohmann::json::parse(header);
  for (const auto& [name, info] : tensors.items()) {
    if (name == "__metadata__") continue;
    Array a{info["shape"].get<std::vector<std::int64_t>>(), {}};
    const char* p = data.data() + info["data_offsets"][0].get<std::size_t>();
    const char* end = data.data() + info["data_offsets"][1].get<std::size_t>();
    const auto read_as = [&](auto value) {
      for (; p < end; p += sizeof value) {
        std::memcpy(&value, p, sizeof value);
        a.values.push_back(static_cast<double>(value));
      }
    };
    const std::string dtype = info["dtype"];
    if (dtype == "F64") {
      read_as(double{});
    } else if (dtype == "F32") {
      read_as(float{});
    } else if (dtype == "I64") {
      read_as(std::int64_t{});
    } else if (dtype == "I32") {
      read_as(std::int32_t{});
    } else {
      throw std::runtime_error(name + ": golden of type " + dtype);
    }
    arrays[name] = std::move(a);
  }
  return arrays;
}

/// A checkpoint of tests/golden/oracle with the reference results that belong to it.
struct Golden {
  explicit Golden(const std::string& name)
      : dir(std::filesystem::path(KL_SOURCE_DIR) / "tests/golden/oracle" / name),
        arrays(read_arrays(dir / "golden.safetensors")) {
    std::ifstream in(dir / "golden.json");
    facts = nlohmann::json::parse(in);
  }

  const Array& operator[](const std::string& array) const { return arrays.at(array); }
  bool has(const std::string& array) const { return arrays.count(array) > 0; }

  std::vector<std::int32_t> tokens(const std::string& array) const {
    const std::vector<double>& v = arrays.at(array).values;
    return {v.begin(), v.end()};
  }

  std::filesystem::path dir;
  std::map<std::string, Array> arrays;
  nlohmann::json facts;
};

}  // namespace kl::test
