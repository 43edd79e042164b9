// The named section through which clrmem and its agent in another process talk. clrmem writes the options and loads the
// agent. The agent reads them once, writes its answer, and closes the section.
#ifndef CLRHM_TOOL_AGENT_CHANNEL_H
#define CLRHM_TOOL_AGENT_CHANNEL_H

#include <windows.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {

enum class AgentState : std::uint32_t { kNoAnswer, kReady, kFailed };

// The layout of the section. Both sides are of the same build: the agent checks size and version.
struct ChannelData {
  std::uint32_t size;         // sizeof(ChannelData)
  std::uint32_t version;      // 1
  std::uint32_t attaches;     // 1: the program runs already; 0: it has not begun
  std::uint32_t is_child;     // 1: a program under clrmem has started it
  std::uint32_t clrmem;       // the id of the clrmem with which the program is to end; 0: none
  std::uint32_t main_thread;  // the id of its first thread, if it has not begun
  AgentState state;
  std::uint32_t argument_count;
  std::uint64_t outside;           // bytes that the program had committed when the agent attached
  std::array<char, 4096> message;  // UTF-8, null-terminated: the error, or the runtime that was attached
  // clrmem's current folder, and then its command line without the program's name: UTF-8, each null-terminated. A
  // command line has at most 32,767 UTF-16 units.
  std::array<char, 2 * 3 * 32768> arguments;
};

// Owns a view of the section.
class Channel {
 public:
  // Creates a section that only this user and the system can open. Throws ToolError.
  [[nodiscard]] static Channel Create();
  // Opens the section of that name. Throws ToolError.
  [[nodiscard]] static Channel Open(const std::wstring& name);
  Channel(Channel&& other) noexcept;
  Channel& operator=(Channel&&) = delete;
  ~Channel();

  [[nodiscard]] const std::wstring& name() const noexcept { return name_; }
  [[nodiscard]] ChannelData& data() const noexcept { return *data_; }

  // Writes and reads the arguments. SetArguments throws ToolError if they do not fit.
  void SetArguments(const std::vector<std::string>& arguments) const;
  [[nodiscard]] std::vector<std::string> Arguments() const;
  // Writes and reads the message, which is cut to its capacity.
  void SetMessage(std::string_view text) const noexcept;
  [[nodiscard]] std::string Message() const;

 private:
  Channel(std::wstring name, HANDLE section);

  std::wstring name_;
  HANDLE section_;
  ChannelData* data_;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_AGENT_CHANNEL_H
