// Reads and writes JSON, as far as Triton's model configuration needs it.
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

  static Json Object();
  static Json Array();
  static Json Number(int64_t value);
  static Json String(const std::string& value);
  // Sets a member of an object, or adds it.
  void Set(const std::string& key, Json value);
  // Adds an element to an array.
  void Append(Json value);
  std::string Write() const;

 private:
  friend class JsonParser;
  Kind kind_ = Kind::kNull;
  std::string text_;  // a string's value, or a number as written, or "true"
  std::vector<Json> items_;
  std::vector<std::pair<std::string, Json>> members_;
};

}  // namespace recserve
