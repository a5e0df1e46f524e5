// errno in words, in the middle of a sentence: "operation not permitted".
#pragma once

#include <cctype>
#include <string>
#include <system_error>

namespace pollux {

inline std::string errno_text(int error) {
  std::string text = std::generic_category().message(error);
  // "File exists" becomes "file exists"; "RFS-specific error" keeps its capitals.
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1]))) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

}  // namespace pollux
