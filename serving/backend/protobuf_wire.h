// Reads and writes the protobuf wire format, as far as the few TensorFlow messages here need it.
// TensorFlow's C interface passes messages as bytes, and its C++ protobuf classes are not for other libraries.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "status.h"

namespace recserve {

// Walks over the fields of one message:
//   for (WireReader reader(bytes); reader.Next();) if (reader.field() == 1) use(reader.bytes());
class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  bool Next() {
    if (rest_.empty()) return false;
    const uint64_t key = ReadVarint();
    field_ = static_cast<uint32_t>(key >> 3);
    bytes_ = {};
    varint_ = 0;
    switch (key & 7) {
      case 0:
        varint_ = ReadVarint();
        break;
      case 1:
        Take(8);
        break;
      case 2:
        bytes_ = Take(ReadVarint());
        break;
      case 5:
        Take(4);
        break;
      default:
        Fail();
    }
    return true;
  }

  uint32_t field() const { return field_; }
  // The value of a string, bytes or message field; empty for other wire types.
  std::string_view bytes() const { return bytes_; }
  std::string text() const { return std::string(bytes_); }
  // The value of an integer, enum or bool field; 0 for other wire types.
  int64_t integer() const { return static_cast<int64_t>(varint_); }

 private:
  [[noreturn]] static void Fail() {
    throw BackendError(TRITONSERVER_ERROR_INTERNAL, "the SavedModel's MetaGraphDef is damaged");
  }

  uint64_t ReadVarint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(Take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    Fail();
  }

  std::string_view Take(uint64_t count) {
    if (count > rest_.size()) Fail();
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
  uint32_t field_ = 0;
  uint64_t varint_ = 0;
  std::string_view bytes_;
};

class WireWriter {
 public:
  void Integer(uint32_t field, int64_t value) {
    Varint(field << 3);
    Varint(static_cast<uint64_t>(value));
  }

  void Bytes(uint32_t field, std::string_view value) {
    Varint((field << 3) | 2);
    Varint(value.size());
    message_.append(value);
  }

  const std::string& message() const { return message_; }

 private:
  void Varint(uint64_t value) {
    while (value >= 0x80) {
      message_ += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    message_ += static_cast<char>(value);
  }

  std::string message_;
};

}  // namespace recserve
