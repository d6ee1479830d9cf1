#include "json.h"

#include <cctype>
#include <cstdlib>

#include "status.h"

namespace recserve {

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json ParseDocument() {
    Json value = ParseValue(0);
    SkipSpace();
    if (position_ != text_.size()) Fail("text after the value");
    return value;
  }

 private:
  static constexpr int kMaxDepth = 64;

  [[noreturn]] void Fail(const std::string& what) const {
    throw BackendError(
        TRITONSERVER_ERROR_INTERNAL,
        "model configuration is not valid JSON at byte " + std::to_string(position_) + ": " + what);
  }

  void SkipSpace() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_]))) ++position_;
  }

  char Peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  bool Consume(char expected) {
    SkipSpace();
    if (Peek() != expected) return false;
    ++position_;
    return true;
  }

  void Expect(char expected) {
    if (!Consume(expected)) Fail(std::string("expected '") + expected + "'");
  }

  Json ParseValue(int depth) {
    if (depth > kMaxDepth) Fail("nested too deeply");
    SkipSpace();
    switch (Peek()) {
      case '{':
        return ParseObject(depth);
      case '[':
        return ParseArray(depth);
      case '"': {
        Json value;
        value.kind_ = Json::Kind::kString;
        value.text_ = ParseString();
        return value;
      }
      default:
        return ParseWord();
    }
  }

  Json ParseObject(int depth) {
    Json object;
    object.kind_ = Json::Kind::kObject;
    Expect('{');
    if (Consume('}')) return object;
    do {
      SkipSpace();
      std::string key = ParseString();
      Expect(':');
      object.members_.emplace_back(std::move(key), ParseValue(depth + 1));
    } while (Consume(','));
    Expect('}');
    return object;
  }

  Json ParseArray(int depth) {
    Json array;
    array.kind_ = Json::Kind::kArray;
    Expect('[');
    if (Consume(']')) return array;
    do {
      array.items_.push_back(ParseValue(depth + 1));
    } while (Consume(','));
    Expect(']');
    return array;
  }

  static bool IsNumberStart(char c) { return c == '-' || std::isdigit(static_cast<unsigned char>(c)); }

  // A number, true, false or null: whatever runs to the next delimiter.
  Json ParseWord() {
    const size_t start = position_;
    while (position_ < text_.size() && (std::isalnum(static_cast<unsigned char>(Peek())) || Peek() == '-' ||
                                        Peek() == '+' || Peek() == '.')) {
      ++position_;
    }
    Json value;
    value.text_ = std::string(text_.substr(start, position_ - start));
    if (value.text_ == "null") return Json();
    if (value.text_ == "true" || value.text_ == "false") {
      value.kind_ = Json::Kind::kBool;
    } else if (IsNumberStart(value.text_.c_str()[0])) {
      value.kind_ = Json::Kind::kNumber;
    } else {
      Fail("expected a value");
    }
    return value;
  }

  std::string ParseString() {
    Expect('"');
    std::string result;
    while (position_ < text_.size() && text_[position_] != '"') {
      if (text_[position_] == '\\') {
        ++position_;
        AppendEscaped(&result);
      } else {
        result += text_[position_++];
      }
    }
    Expect('"');
    return result;
  }

  void AppendEscaped(std::string* result) {
    const char escape = Peek();
    ++position_;
    switch (escape) {
      case '"':
      case '\\':
      case '/':
        *result += escape;
        break;
      case 'n':
        *result += '\n';
        break;
      case 't':
        *result += '\t';
        break;
      case 'r':
        *result += '\r';
        break;
      case 'b':
        *result += '\b';
        break;
      case 'f':
        *result += '\f';
        break;
      case 'u':
        AppendUtf8(ParseHex4(), result);
        break;
      default:
        Fail("unknown escape");
    }
  }

  unsigned ParseHex4() {
    if (position_ + 4 > text_.size()) Fail("short \\u escape");
    const std::string digits(text_.substr(position_, 4));
    char* end = nullptr;
    const unsigned code = static_cast<unsigned>(std::strtoul(digits.c_str(), &end, 16));
    if (end != digits.c_str() + 4) Fail("bad \\u escape");
    position_ += 4;
    return code;
  }

  // Surrogate pairs do not occur: a configuration holds names and paths, and Triton writes UTF-8 as it is.
  static void AppendUtf8(unsigned code, std::string* result) {
    if (code < 0x80) {
      *result += static_cast<char>(code);
    } else if (code < 0x800) {
      *result += static_cast<char>(0xC0 | (code >> 6));
      *result += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      *result += static_cast<char>(0xE0 | (code >> 12));
      *result += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      *result += static_cast<char>(0x80 | (code & 0x3F));
    }
  }

  std::string_view text_;
  size_t position_ = 0;
};

namespace {

std::string Quoted(const std::string& text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      quoted += c;
    } else {
      quoted += std::string("\\u00") + kHex[c >> 4] + kHex[c & 0xF];
    }
  }
  return quoted + "\"";
}

}  // namespace

Json Json::Parse(std::string_view text) { return JsonParser(text).ParseDocument(); }

const Json* Json::Find(std::string_view key) const {
  for (const auto& [name, value] : members_) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string Json::AsString(const std::string& fallback) const { return kind_ == Kind::kString ? text_ : fallback; }

int64_t Json::AsInt(int64_t fallback) const {
  if (kind_ != Kind::kNumber && kind_ != Kind::kString) return fallback;
  char* end = nullptr;
  const int64_t value = std::strtoll(text_.c_str(), &end, 10);
  return !text_.empty() && *end == '\0' ? value : fallback;
}

Json Json::Object() {
  Json json;
  json.kind_ = Kind::kObject;
  return json;
}

Json Json::Array() {
  Json json;
  json.kind_ = Kind::kArray;
  return json;
}

Json Json::Number(int64_t value) {
  Json json;
  json.kind_ = Kind::kNumber;
  json.text_ = std::to_string(value);
  return json;
}

Json Json::String(const std::string& value) {
  Json json;
  json.kind_ = Kind::kString;
  json.text_ = value;
  return json;
}

void Json::Set(const std::string& key, Json value) {
  for (auto& [name, member] : members_) {
    if (name != key) continue;
    member = std::move(value);
    return;
  }
  members_.emplace_back(key, std::move(value));
}

void Json::Append(Json value) { items_.push_back(std::move(value)); }

std::string Json::Write() const {
  std::string text;
  switch (kind_) {
    case Kind::kNull:
      return "null";
    case Kind::kString:
      return Quoted(text_);
    case Kind::kArray:
      for (const Json& item : items_) text += (text.empty() ? "" : ",") + item.Write();
      return "[" + text + "]";
    case Kind::kObject:
      for (const auto& [key, value] : members_) text += (text.empty() ? "" : ",") + Quoted(key) + ":" + value.Write();
      return "{" + text + "}";
    default:
      return text_;  // numbers and booleans as they were read
  }
}

bool Json::AsBool(bool fallback) const { return kind_ == Kind::kBool ? text_ == "true" : fallback; }

}  // namespace recserve
