#include "engine/services/http_pages.h"

#include <array>

// The assembler reads the files, so that they stay what they are: nothing is generated, and a page
// can be opened in an editor and a browser.
#define POLLUX_PAGE(symbol, file)                           \
  __asm__(".pushsection .rodata\n" #symbol                  \
          "_begin:\n"                                       \
          ".incbin \"" POLLUX_PAGES "/" file "\"\n" #symbol \
          "_end:\n"                                         \
          ".byte 0\n"                                       \
          ".popsection\n");                                 \
  extern "C" const char symbol##_begin[];                   \
  extern "C" const char symbol##_end[];

POLLUX_PAGE(pollux_page_plain, "plain.html")
POLLUX_PAGE(pollux_page_live, "live.html")
POLLUX_PAGE(pollux_page_script, "live.js")
POLLUX_PAGE(pollux_page_style, "style.css")
#undef POLLUX_PAGE

namespace pollux {
namespace {

std::string_view between(const char* begin, const char* end) {
  return {begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

HttpPage http_page(std::string_view name, bool live) {
  const HttpPage plain{"", between(pollux_page_plain_begin, pollux_page_plain_end)};
  const HttpPage first{"", between(pollux_page_live_begin, pollux_page_live_end)};
  const HttpPage style{"style.css", between(pollux_page_style_begin, pollux_page_style_end)};
  const HttpPage script{"live.js", between(pollux_page_script_begin, pollux_page_script_end)};
  if (name.empty() || name == "index.html") return live ? first : plain;
  if (name == style.name) return style;
  if (live && name == script.name) return script;
  return {};
}

}  // namespace pollux
