// Breaks down a process's committed memory: the part that the manager hosts, and the rest by name. Portable and pure:
// it turns tables into sums, exact to the byte. process_memory.h fills the tables.
#ifndef CLRHM_TOOL_RUN_MEMORY_BREAKDOWN_H
#define CLRHM_TOOL_RUN_MEMORY_BREAKDOWN_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace clr_host_memory::tool {

// The Type that VirtualQuery reports.
enum class MemoryType { kPrivate, kMapped, kImage };

// Number of purposes, indexed by ClrHostMemoryPurpose.
inline constexpr std::size_t kBreakdownPurposes = 8;

// A run of adjacent committed pages with equal properties. Sizes are bytes.
struct MemoryRun {
  std::uint64_t allocation_base = 0;
  std::uint64_t size = 0;
  MemoryType type = MemoryType::kPrivate;
  bool writable = false;  // writable or copy-on-write; of an image these pages are charged to the process
  bool executable = false;
  std::uint64_t hosted = 0;  // part of size that is on the manager's account
  std::size_t purpose = 0;   // purpose of the hosted bytes
};

// Known allocations that the manager does not host, by their base addresses.
struct KnownAllocations {
  std::vector<std::uint64_t> stacks;       // stack of each thread
  std::vector<std::uint64_t> thread_data;  // other thread memory: TEBs, and under Wine a second stack
  std::vector<std::uint64_t> heaps;        // heaps and their further segments
  struct Image {
    std::uint64_t base = 0;
    std::string name;  // "ntdll.dll"
  };
  std::vector<Image> images;
};

// Amounts known only as sums. Bytes.
struct KnownSums {
  std::uint64_t process = 0;       // the OS's figure for the process
  std::uint64_t hosted_pages = 0;  // pages on the manager's account, including mapped views
  std::uint64_t hosted_heap = 0;   // of these: committed by IHostMalloc's heaps
  std::uint64_t own = 0;           // the manager's own tables and reserve
};

struct NamedBytes {
  std::string name;
  std::uint64_t bytes = 0;
};

// The breakdown of a process's committed memory, in bytes.
// hosted = data + executable + image + mapped.
// private bytes = hosted - mapped + not hosted.
// process = private bytes + unexplained.
struct MemoryBreakdown {
  std::string process_figure;  // "PrivateUsage": the OS counter that gave `process`
  std::uint64_t process = 0;
  struct Hosted {
    std::uint64_t data = 0;        // private pages that are not executable
    std::uint64_t executable = 0;  // executable private pages
    std::uint64_t image = 0;       // pages of images
    std::uint64_t mapped = 0;      // pages in views; shared, so not private bytes of the process
    std::uint64_t heap = 0;        // of data and executable: IHostMalloc's heaps
    std::array<std::uint64_t, kBreakdownPurposes> by_purpose{};  // hosted pages by purpose, without mapped views
  } hosted;
  struct NotHosted {
    std::uint64_t stacks = 0;
    std::uint64_t stack_count = 0;
    std::uint64_t thread_data = 0;
    std::uint64_t heaps = 0;
    std::uint64_t images = 0;
    std::vector<NamedBytes> by_image;  // largest first
    std::uint64_t own = 0;             // the manager's tables and reserve
    std::uint64_t unknown = 0;         // private allocations without a known name
  } not_hosted;
  std::optional<NotHosted> before;  // the breakdown of memory not hosted when the bridge was attached
  std::int64_t unexplained = 0;     // the OS's figure minus all private bytes above
};

[[nodiscard]] std::uint64_t HostedBytes(const MemoryBreakdown& accounting);
[[nodiscard]] std::uint64_t NotHostedBytes(const MemoryBreakdown& accounting);

[[nodiscard]] MemoryBreakdown BreakDown(const std::vector<MemoryRun>& runs, const KnownAllocations& known_allocations,
                                        const KnownSums& sums);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_MEMORY_BREAKDOWN_H
