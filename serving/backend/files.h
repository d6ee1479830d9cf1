// Whole files as text.
#pragma once

#include <cstdint>
#include <string>

namespace recserve {

// Throws BackendError(NOT_FOUND) if it cannot be read.
std::string ReadFile(const std::string& path);

// CRC-32 of zlib (IEEE 802.3, reflected polynomial EDB88320).
uint32_t Crc32(const std::string& bytes);

}  // namespace recserve
