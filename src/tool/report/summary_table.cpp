#include "tool/report/summary_table.h"

#include "tool/text/size_text.h"

namespace clr_host_memory::tool {
namespace {

constexpr std::size_t kLabelWidth = 36;
constexpr std::size_t kNumberWidth = 11;

}  // namespace

void Table::Row(const std::string& label, const std::string& value) {
  text_ += "  " + label + std::string(label.size() < kLabelWidth ? kLabelWidth - label.size() : 0, ' ') + " " + value;
  text_ += '\n';
}

void Table::Count(const std::string& label, std::uint64_t count, const std::string& note) {
  std::string number = FormatCount(count);
  if (number.size() < kNumberWidth) number.insert(0, kNumberWidth - number.size(), ' ');
  Row(label, note.empty() ? number : number + "  " + note);
}

Json BytesOrNull(std::uint64_t bytes) { return bytes == CLR_HOST_MEMORY_NO_LIMIT ? Json(nullptr) : Json(bytes); }

}  // namespace clr_host_memory::tool
