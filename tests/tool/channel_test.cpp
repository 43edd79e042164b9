#include "tool/agent/channel.h"

#include <aclapi.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

TEST(Channel, CarriesOptionsAndAnswer) {
  const Channel clrmem = Channel::Create();
  const Channel agent = Channel::Open(clrmem.name());
  const std::vector<std::string> arguments{"C:\\", "run", "", "a b", "\xC3\xBC"};
  clrmem.SetArguments(arguments);
  EXPECT_EQ(agent.Arguments(), arguments);
  EXPECT_EQ(clrmem.data().state, AgentState::kNoAnswer);
  agent.SetMessage("ready");
  agent.data().state = AgentState::kReady;
  EXPECT_EQ(clrmem.Message(), "ready");
  EXPECT_EQ(clrmem.data().state, AgentState::kReady);
}

TEST(Channel, CutsALongMessageBetweenCharacters) {
  const Channel channel = Channel::Create();
  std::string text(channel.data().message.size() - 2, 'a');
  channel.SetMessage(text + "\xC3\xBC");
  EXPECT_EQ(channel.Message(), text);
}

TEST(Channel, RefusesArgumentsThatDoNotFit) {
  const Channel channel = Channel::Create();
  EXPECT_THROW(channel.SetArguments({std::string(channel.data().arguments.size(), 'a')}), ToolError);
  EXPECT_THAT(channel.Arguments(), testing::IsEmpty());
}

TEST(Channel, IsOfThisVersion) {
  const Channel channel = Channel::Create();
  channel.data().version = 2;
  EXPECT_THROW((void)Channel::Open(channel.name()), ToolError);
  EXPECT_THROW((void)Channel::Open(channel.name() + L"x"), ToolError);
}

TEST(Channel, CanBeOpenedByThisUserAndTheSystemOnly) {
  const Channel channel = Channel::Create();
  HANDLE section = OpenFileMappingW(READ_CONTROL, FALSE, channel.name().c_str());
  ASSERT_NE(section, nullptr);
  PACL rights = nullptr;
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  ASSERT_EQ(GetSecurityInfo(section, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr, nullptr, &rights, nullptr,
                            &descriptor),
            DWORD{ERROR_SUCCESS});
  ASSERT_NE(rights, nullptr) << "no list would let everyone open it";
  EXPECT_EQ(rights->AceCount, 2);
  LocalFree(descriptor);
  CloseHandle(section);
}

}  // namespace
}  // namespace clr_host_memory::tool
