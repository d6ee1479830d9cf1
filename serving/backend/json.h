// A small JSON reader, enough for the model configuration that Triton hands over.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace recserve {

class Json {
 public:
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };

  // Throws BackendError(INTERNAL) with the byte offset if the text is not JSON.
  static Json Parse(std::string_view text);

  Kind kind() const { return kind_; }
  // Null if this is no object or has no such member.
  const Json* Find(std::string_view key) const;
  // Elements of an array; empty for anything else.
  const std::vector<Json>& items() const { return items_; }
  // Members of an object, in the order of the text; empty for anything else.
  const std::vector<std::pair<std::string, Json>>& members() const { return members_; }

  // The value, or the fallback if this is of another kind. 64-bit numbers may be written as strings.
  std::string AsString(const std::string& fallback = "") const;
  int64_t AsInt(int64_t fallback = 0) const;
  bool AsBool(bool fallback = false) const;

 private:
  friend class JsonParser;
  Kind kind_ = Kind::kNull;
  std::string text_;  // a string's value, or a number as written, or "true"
  std::vector<Json> items_;
  std::vector<std::pair<std::string, Json>> members_;
};

}  // namespace recserve
