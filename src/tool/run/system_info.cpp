#include "tool/run/system_info.h"

#include "tool/hosting/hostfxr_abi.h"
#include "tool/text/size_text.h"

#include <windows.h>

#include <psapi.h>

namespace clr_host_memory::tool {
namespace {

std::string WindowsVersion() {
  // GetVersionEx returns the version that the manifest allows; RtlGetVersion returns the version that runs.
  using RtlGetVersion = LONG(WINAPI*)(OSVERSIONINFOW*);
  using WineGetVersion = const char*(__cdecl*)();
  HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
  std::string text = "unknown";
  OSVERSIONINFOW version{};
  version.dwOSVersionInfoSize = sizeof(version);
  if (const auto get = FunctionOf<RtlGetVersion>(ntdll, "RtlGetVersion"); get != nullptr && get(&version) == 0) {
    text = std::to_string(version.dwMajorVersion) + "." + std::to_string(version.dwMinorVersion) + "." +
           std::to_string(version.dwBuildNumber);
  }
  if (const auto get = FunctionOf<WineGetVersion>(ntdll, "wine_get_version"); get != nullptr) {
    text += std::string(", Wine ") + get();
  }
  return text;
}

void ReadJob(SystemInfo& info) {
  BOOL in_job = FALSE;
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION job{};
  if (!IsProcessInJob(GetCurrentProcess(), nullptr, &in_job) || !in_job) return;
  if (!QueryInformationJobObject(nullptr, JobObjectExtendedLimitInformation, &job, sizeof(job), nullptr)) return;
  const DWORD flags = job.BasicLimitInformation.LimitFlags;
  if ((flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) != 0) info.job_process_limit = job.ProcessMemoryLimit;
  if ((flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0) info.job_limit = job.JobMemoryLimit;
}

}  // namespace

SystemInfo ReadSystemInfo() {
  SystemInfo info;
  info.windows_version = WindowsVersion();
  SYSTEM_INFO system{};
  GetSystemInfo(&system);
  info.page_size = system.dwPageSize;
  info.allocation_granularity = system.dwAllocationGranularity;
  info.processors = system.dwNumberOfProcessors;
  ULONG highest_node = 0;
  if (GetNumaHighestNodeNumber(&highest_node)) info.numa_nodes = highest_node + 1;
  MEMORYSTATUSEX memory{};
  memory.dwLength = sizeof(memory);
  if (GlobalMemoryStatusEx(&memory)) {
    info.physical_memory = memory.ullTotalPhys;
    info.physical_available = memory.ullAvailPhys;
    info.address_space = memory.ullTotalVirtual;
  }
  PERFORMANCE_INFORMATION performance{};
  if (GetPerformanceInfo(&performance, sizeof(performance))) {
    info.commit_limit = std::uint64_t{performance.CommitLimit} * performance.PageSize;
    info.commit_in_use = std::uint64_t{performance.CommitTotal} * performance.PageSize;
  }
  info.large_page_minimum = GetLargePageMinimum();
  ReadJob(info);
  return info;
}

std::string FormatSystemInfo(const SystemInfo& info) {
  std::string text;
  const auto row = [&](std::string label, const std::string& value) {
    label.resize(26, ' ');
    text += "  " + label + value + "\n";
  };
  const auto limit = [](const std::optional<std::uint64_t>& bytes) { return bytes ? FormatSize(*bytes) : "none"; };
  row("Windows", info.windows_version);
  row("processors", std::to_string(info.processors));
  row("NUMA nodes", std::to_string(info.numa_nodes));
  row("page", FormatCount(info.page_size) + " bytes");
  row("allocation granularity", FormatCount(info.allocation_granularity) + " bytes");
  row("large page minimum", info.large_page_minimum == 0 ? "no large pages" : FormatSize(info.large_page_minimum));
  row("physical memory", FormatSize(info.physical_memory) + ", " + FormatSize(info.physical_available) + " available");
  row("commit limit", FormatSize(info.commit_limit) + ", " + FormatSize(info.commit_in_use) + " in use");
  row("address space", FormatSize(info.address_space));
  row("job limit, this process", limit(info.job_process_limit));
  row("job limit, all processes", limit(info.job_limit));
  return text;
}

}  // namespace clr_host_memory::tool
