#include "tool/report/summary.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <windows.h>

#include <gsl/narrow>
#include <system_error>
#include <utility>

namespace clr_host_memory::tool {
namespace {

ToolError CannotWrite(const std::filesystem::path& path, const std::string& why) {
  return ToolError("the summary cannot be written to " + ToUtf8(path) + ": " + why, "name a file in a writable folder");
}

}  // namespace

SummaryFile::SummaryFile(const std::filesystem::path& path) {
  if (path.empty()) throw ToolError("--summary has an empty name", "name a file, or remove the option");
  std::error_code error;
  path_ = std::filesystem::absolute(path, error);
  if (error) throw CannotWrite(path, "it is not a path");
  if (std::filesystem::is_directory(path_, error)) throw CannotWrite(path_, "it is a folder");
  if (OpenDevice()) return;
  temporary_ = path_;
  temporary_ += L"." + std::to_wstring(GetCurrentProcessId()) + L".tmp";
  HANDLE file = CreateFileW(temporary_.c_str(), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                            CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) throw CannotWrite(path_, DescribeWin32Error(GetLastError()));
  file_ = file;
}

bool SummaryFile::OpenDevice() {
  HANDLE file = CreateFileW(path_.c_str(), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                            nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) return false;
  if (GetFileType(file) == FILE_TYPE_DISK) {
    CloseHandle(file);
    return false;
  }
  file_ = file;
  return true;
}

SummaryFile::SummaryFile(SummaryFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)),
      file_(std::exchange(other.file_, nullptr)) {}

SummaryFile::~SummaryFile() {
  if (file_ == nullptr) return;
  CloseHandle(file_);
  if (!temporary_.empty()) DeleteFileW(temporary_.c_str());
}

void SummaryFile::Commit(const std::string& text) {
  DWORD written = 0;
  const auto size = gsl::narrow<DWORD>(text.size());
  const bool is_device = temporary_.empty();
  if (!WriteFile(file_, text.data(), size, &written, nullptr) || written != size ||
      (!is_device && !FlushFileBuffers(file_))) {
    throw CannotWrite(path_, DescribeWin32Error(GetLastError()));
  }
  CloseHandle(std::exchange(file_, nullptr));
  if (is_device) return;
  if (!MoveFileExW(temporary_.c_str(), path_.c_str(), MOVEFILE_REPLACE_EXISTING)) {
    const DWORD error = GetLastError();
    DeleteFileW(temporary_.c_str());
    throw CannotWrite(path_, DescribeWin32Error(error));
  }
}

}  // namespace clr_host_memory::tool
