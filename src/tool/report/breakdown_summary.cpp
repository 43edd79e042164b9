#include "tool/report/breakdown_summary.h"

#include "tool/report/summary.h"
#include "tool/text/size_text.h"

#include <algorithm>

namespace clr_host_memory::tool {
namespace {

constexpr std::size_t kListedImages = 5;

// Returns the number of images to list, at most kListedImages. Images without unhosted bytes are left out. The images
// are sorted, largest first.
std::size_t ListedImages(const MemoryBreakdown& accounting) {
  const auto& images = accounting.not_hosted.by_image;
  const auto none =
      std::find_if(images.begin(), images.end(), [](const NamedBytes& image) { return image.bytes == 0; });
  return std::min(kListedImages, static_cast<std::size_t>(none - images.begin()));
}

// Formats the part of a row that existed before the bridge was attached.
std::string OfBefore(const MemoryBreakdown& accounting, std::uint64_t MemoryBreakdown::NotHosted::* row) {
  return accounting.before ? FormatCount((*accounting.before).*row) + " before the runtime started" : "";
}

std::string Signed(std::int64_t bytes) {
  const auto magnitude = bytes < 0 ? 0 - static_cast<std::uint64_t>(bytes) : static_cast<std::uint64_t>(bytes);
  return (bytes < 0 ? "-" : "") + FormatCount(magnitude);
}

}  // namespace

void AddBreakdown(Table& table, const MemoryBreakdown& accounting) {
  const auto& hosted = accounting.hosted;
  const auto& rest = accounting.not_hosted;
  table.Line("  accounting, in bytes");
  table.Count("  " + accounting.process_figure + " of the process", accounting.process, "");
  table.Count("  hosted", HostedBytes(accounting), "charged by the manager");
  table.Count("    data", hosted.data, "");
  table.Count("    executable", hosted.executable, "");
  table.Count("    image-backed", hosted.image, "");
  table.Count("    in mapped views", hosted.mapped, "not private bytes of the process");
  table.Count("    in IHostMalloc's heaps", hosted.heap, "included above");
  for (std::size_t purpose = 0; purpose < hosted.by_purpose.size(); ++purpose) {
    if (hosted.by_purpose[purpose] == 0) continue;
    table.Count(std::string("    for ") + PurposeName(static_cast<ClrHostMemoryPurpose>(purpose)),
                hosted.by_purpose[purpose], "");
  }
  table.Count("  not hosted", NotHostedBytes(accounting), "");
  using NotHosted = MemoryBreakdown::NotHosted;
  table.Count("    stacks", rest.stacks, "of " + FormatCount(rest.stack_count) + " threads");
  table.Count("    other thread memory", rest.thread_data, OfBefore(accounting, &NotHosted::thread_data));
  table.Count("    heaps", rest.heaps, OfBefore(accounting, &NotHosted::heaps));
  table.Count("    images", rest.images, OfBefore(accounting, &NotHosted::images));
  for (std::size_t i = 0; i < ListedImages(accounting); ++i) {
    table.Count("      " + rest.by_image[i].name, rest.by_image[i].bytes, "");
  }
  table.Count("    the manager's tables and reserve", rest.own, "");
  table.Count("    unknown", rest.unknown, OfBefore(accounting, &NotHosted::unknown));
  table.Row("  not explained", Signed(accounting.unexplained) + " of " + accounting.process_figure);
}

Json BreakdownJson(const MemoryBreakdown& accounting) {
  const auto& hosted = accounting.hosted;
  const auto& rest = accounting.not_hosted;
  Json by_purpose = Json::object();
  for (std::size_t purpose = 0; purpose < hosted.by_purpose.size(); ++purpose) {
    by_purpose[PurposeKey(static_cast<ClrHostMemoryPurpose>(purpose))] = hosted.by_purpose[purpose];
  }
  Json images = Json::array();
  for (const NamedBytes& image : rest.by_image) {
    if (image.bytes != 0) images.push_back({{"name", image.name}, {"bytes", image.bytes}});
  }
  Json before = nullptr;
  if (accounting.before) {
    before = {{"stack_bytes", accounting.before->stacks}, {"thread_bytes", accounting.before->thread_data},
              {"heap_bytes", accounting.before->heaps},   {"image_bytes", accounting.before->images},
              {"own_bytes", accounting.before->own},      {"unknown_bytes", accounting.before->unknown}};
  }
  return {{"process", {{"figure", accounting.process_figure}, {"bytes", accounting.process}}},
          {"hosted",
           {{"bytes", HostedBytes(accounting)},
            {"data_bytes", hosted.data},
            {"executable_bytes", hosted.executable},
            {"image_bytes", hosted.image},
            {"mapped_bytes", hosted.mapped},
            {"heap_bytes", hosted.heap},
            {"purposes", std::move(by_purpose)}}},
          {"not_hosted",
           {{"bytes", NotHostedBytes(accounting)},
            {"stack_bytes", rest.stacks},
            {"stacks", rest.stack_count},
            {"thread_bytes", rest.thread_data},
            {"heap_bytes", rest.heaps},
            {"image_bytes", rest.images},
            {"images", std::move(images)},
            {"own_bytes", rest.own},
            {"unknown_bytes", rest.unknown},
            {"before", std::move(before)}}},
          {"unexplained_bytes", accounting.unexplained}};
}

}  // namespace clr_host_memory::tool
