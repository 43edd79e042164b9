// Where a process's committed memory is: what the manager hosts, and what it does not, by name. Portable and pure:
// tables in, sums out, to the byte; process_memory.h fills the tables.
#ifndef CLRHM_TOOL_RUN_MEMORY_BREAKDOWN_H
#define CLRHM_TOOL_RUN_MEMORY_BREAKDOWN_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace clr_host_memory::tool {

// As VirtualQuery's Type.
enum class MemoryType { kPrivate, kMapped, kImage };

// By ClrHostMemoryPurpose.
inline constexpr std::size_t kBreakdownPurposes = 8;

// Committed pages that lie together and are alike. Bytes.
struct MemoryRun {
  std::uint64_t allocation_base = 0;
  std::uint64_t size = 0;
  MemoryType type = MemoryType::kPrivate;
  bool writable = false;  // also copy-on-write: what is charged to the process, of an image
  bool executable = false;
  std::uint64_t hosted = 0;  // of size: on the manager's account
  std::size_t purpose = 0;   // of what is hosted
};

// What is known of allocations that the manager does not host, by where they begin.
struct KnownAllocations {
  std::vector<std::uint64_t> stacks;       // of each thread
  std::vector<std::uint64_t> thread_data;  // what threads have besides: TEBs, under Wine a second stack
  std::vector<std::uint64_t> heaps;        // and their further segments
  struct Image {
    std::uint64_t base = 0;
    std::string name;  // "ntdll.dll"
  };
  std::vector<Image> images;
};

// What is known as a sum only. Bytes.
struct KnownSums {
  std::uint64_t process = 0;       // the OS's figure of the process
  std::uint64_t hosted_pages = 0;  // on the manager's account, in mapped views, too
  std::uint64_t hosted_heap = 0;   // of them: what IHostMalloc's heaps have committed
  std::uint64_t own = 0;           // the manager's own tables and reserve
};

struct NamedBytes {
  std::string name;
  std::uint64_t bytes = 0;
};

// hosted: data + executable + image + mapped.
// private bytes: hosted ones but mapped, and not_hosted. process = private bytes + unexplained.
struct MemoryBreakdown {
  std::string process_figure;  // "PrivateUsage": where `process` is from
  std::uint64_t process = 0;
  struct Hosted {
    std::uint64_t data = 0;                                      // private pages that are not executable
    std::uint64_t executable = 0;                                // private pages that are
    std::uint64_t image = 0;                                     // pages of images
    std::uint64_t mapped = 0;                                    // in views; shared, so no private bytes of the process
    std::uint64_t heap = 0;                                      // of data and executable: IHostMalloc's heaps
    std::array<std::uint64_t, kBreakdownPurposes> by_purpose{};  // of the private pages
  } hosted;
  struct NotHosted {
    std::uint64_t stacks = 0;
    std::uint64_t stack_count = 0;
    std::uint64_t thread_data = 0;
    std::uint64_t heaps = 0;
    std::uint64_t images = 0;
    std::vector<NamedBytes> by_image;  // largest first
    std::uint64_t own = 0;             // the manager's tables and reserve
    std::uint64_t unknown = 0;         // private, and nobody's by name
  } not_hosted;
  std::optional<NotHosted> before;  // what was not hosted when the bridge took over
  std::int64_t unexplained = 0;     // the OS's figure less all of the above that is private
};

[[nodiscard]] std::uint64_t HostedBytes(const MemoryBreakdown& accounting);
[[nodiscard]] std::uint64_t NotHostedBytes(const MemoryBreakdown& accounting);

[[nodiscard]] MemoryBreakdown BreakDown(const std::vector<MemoryRun>& runs, const KnownAllocations& known_allocations,
                                        const KnownSums& sums);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_MEMORY_BREAKDOWN_H
