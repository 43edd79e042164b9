#include "tool/agent/channel.h"

#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <objbase.h>
#include <sddl.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace clr_host_memory::tool {
namespace {

ToolError CannotTalk(DWORD error) {
  return ToolError("clrmem cannot share memory with the program, " + DescribeWin32Error(error),
                   "close other programs and try again");
}

struct LocalFreer {
  void operator()(void* memory) const noexcept { LocalFree(memory); }
};

// Returns a security descriptor that gives all rights to this user and to the system, and none to others.
std::unique_ptr<void, LocalFreer> OnlyThisUser() {
  HANDLE token = nullptr;
  if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) throw CannotTalk(GetLastError());
  alignas(TOKEN_USER) std::array<std::byte, sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE> user{};
  DWORD size = 0;
  const bool known = GetTokenInformation(token, TokenUser, user.data(), static_cast<DWORD>(user.size()), &size) != 0;
  const DWORD error = GetLastError();
  CloseHandle(token);
  if (!known) throw CannotTalk(error);
  wchar_t* sid = nullptr;
  if (!ConvertSidToStringSidW(reinterpret_cast<const TOKEN_USER*>(user.data())->User.Sid, &sid)) {
    throw CannotTalk(GetLastError());
  }
  const std::wstring rights = std::wstring(L"D:P(A;;GA;;;SY)(A;;GA;;;") + sid + L")";
  LocalFree(sid);
  void* descriptor = nullptr;
  if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(rights.c_str(), SDDL_REVISION_1, &descriptor, nullptr)) {
    throw CannotTalk(GetLastError());
  }
  return std::unique_ptr<void, LocalFreer>(descriptor);
}

std::wstring NewName() {
  GUID id{};
  if (FAILED(CoCreateGuid(&id))) throw CannotTalk(ERROR_NOT_ENOUGH_MEMORY);
  std::array<wchar_t, 40> text{};
  StringFromGUID2(id, text.data(), static_cast<int>(text.size()));
  return std::wstring(L"Local\\clrmem-") + text.data();
}

}  // namespace

Channel::Channel(std::wstring name, HANDLE section)
    : name_(std::move(name)), section_(section),
      data_(static_cast<ChannelData*>(MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, sizeof(*data_)))) {
  if (data_ != nullptr) return;
  const DWORD error = GetLastError();
  CloseHandle(section_);
  throw CannotTalk(error);
}

Channel::Channel(Channel&& other) noexcept
    : name_(std::move(other.name_)), section_(std::exchange(other.section_, nullptr)),
      data_(std::exchange(other.data_, nullptr)) {}

Channel::~Channel() {
  if (data_ == nullptr) return;
  UnmapViewOfFile(data_);
  CloseHandle(section_);
}

Channel Channel::Create() {
  const auto rights = OnlyThisUser();
  SECURITY_ATTRIBUTES attributes{sizeof(attributes), rights.get(), FALSE};
  std::wstring name = NewName();
  HANDLE section =
      CreateFileMappingW(INVALID_HANDLE_VALUE, &attributes, PAGE_READWRITE, 0, sizeof(ChannelData), name.c_str());
  const DWORD error = GetLastError();
  if (section == nullptr) throw CannotTalk(error);
  if (error == ERROR_ALREADY_EXISTS) {  // another program guessed the name
    CloseHandle(section);
    throw CannotTalk(error);
  }
  Channel channel(std::move(name), section);
  channel.data().size = sizeof(ChannelData);
  channel.data().version = 1;
  return channel;
}

Channel Channel::Open(const std::wstring& name) {
  HANDLE section = OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, name.c_str());
  if (section == nullptr) throw CannotTalk(GetLastError());
  Channel channel(name, section);
  if (channel.data().size != sizeof(ChannelData) || channel.data().version != 1) {
    throw ToolError("clrmem-agent.dll is of another version than clrmem.exe", "install both from one package");
  }
  return channel;
}

void Channel::SetArguments(const std::vector<std::string>& arguments) const {
  std::string all;
  for (const std::string& argument : arguments) all.append(argument).push_back('\0');
  if (all.size() > data_->arguments.size()) {
    throw ToolError("the command line is too long to pass on", "give fewer or shorter arguments");
  }
  std::copy(all.begin(), all.end(), data_->arguments.begin());
  data_->argument_count = static_cast<std::uint32_t>(arguments.size());
}

std::vector<std::string> Channel::Arguments() const {
  std::vector<std::string> arguments;
  auto at = data_->arguments.begin();
  for (std::uint32_t i = 0; i < data_->argument_count && at != data_->arguments.end(); ++i) {
    const auto end = std::find(at, data_->arguments.end(), '\0');
    arguments.emplace_back(at, end);
    at = end == data_->arguments.end() ? end : end + 1;
  }
  return arguments;
}

void Channel::SetMessage(std::string_view text) const noexcept {
  std::size_t length = std::min(text.size(), data_->message.size() - 1);
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  std::copy_n(text.begin(), length, data_->message.begin());
  data_->message[length] = '\0';
}

std::string Channel::Message() const {
  return {data_->message.begin(), std::find(data_->message.begin(), data_->message.end(), '\0')};
}

}  // namespace clr_host_memory::tool
