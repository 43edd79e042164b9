#include "tool/program/runtime_locator.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

class RuntimeLocator : public testing::Test {
 protected:
  RuntimeLocator()
      : folder_(fs::temp_directory_path() /
                (std::string("clrhm-locator-") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~RuntimeLocator() override { fs::remove_all(folder_); }

  void MakeFile(const fs::path& relative) const {
    fs::create_directories((folder_ / relative).parent_path());
    std::ofstream(folder_ / relative) << "x";
  }

  fs::path folder_;
};

TEST(RuntimeVersion, OrdersLikeSemanticVersions) {
  const char* ascending[] = {"6.0.9",         "6.0.10", "8.0.0-alpha.1", "8.0.0-preview.2.23128.3", "8.0.0-rc.1.9",
                             "8.0.0-rc.1.10", "8.0.0",  "8.0.33",        "10.0.0-rc.1.25451.107",   "10.0.0",
                             "10.0.14"};
  for (std::size_t i = 0; i + 1 < std::size(ascending); ++i) {
    const auto lower = ParseRuntimeVersion(ascending[i]);
    const auto higher = ParseRuntimeVersion(ascending[i + 1]);
    ASSERT_TRUE(lower && higher);
    EXPECT_TRUE(CompareVersions(*lower, *higher) < 0) << ascending[i] << " " << ascending[i + 1];
    EXPECT_TRUE(CompareVersions(*higher, *lower) > 0) << ascending[i] << " " << ascending[i + 1];
  }
  EXPECT_TRUE(CompareVersions(*ParseRuntimeVersion("8.0.33+abc"), *ParseRuntimeVersion("8.0.33")) == 0);
}

TEST(RuntimeVersion, RefusesTextThatIsNotAVersion) {
  for (const char* text : {"", "8", "v8.0", "8.0.x", "8..0", ".8.0", "fxr", "99999999999.0.0"}) {
    EXPECT_FALSE(ParseRuntimeVersion(text)) << text;
  }
}

TEST_F(RuntimeLocator, TakesTheNewestHostFxr) {
  MakeFile("host/fxr/8.0.33/hostfxr.dll");
  MakeFile("host/fxr/10.0.14/hostfxr.dll");
  MakeFile("host/fxr/9.0.1/hostfxr.dll");
  MakeFile("host/fxr/not-a-version/hostfxr.dll");
  MakeFile("shared/Microsoft.NETCore.App/8.0.33/coreclr.dll");
  const auto root = AsDotnetRoot({folder_, "test"});
  ASSERT_TRUE(root);
  EXPECT_EQ(root->hostfxr, folder_ / "host" / "fxr" / "10.0.14" / "hostfxr.dll");
  const auto runtimes = InstalledRuntimes(*root);
  ASSERT_EQ(runtimes.size(), 1u);
  EXPECT_EQ(runtimes[0].name, "Microsoft.NETCore.App");
  EXPECT_EQ(runtimes[0].version, "8.0.33");
}

TEST_F(RuntimeLocator, RefusesAFolderWithoutHostFxr) {
  EXPECT_FALSE(AsDotnetRoot({folder_, "test"}));
  EXPECT_FALSE(AsDotnetRoot({folder_ / "nowhere", "test"}));
  fs::create_directories(folder_ / "host" / "fxr" / "8.0.33");
  EXPECT_FALSE(AsDotnetRoot({folder_, "test"}));
}

TEST_F(RuntimeLocator, RuntimeFolderNeedsCoreClrAndCoreLibrary) {
  MakeFile("coreclr.dll");
  EXPECT_FALSE(IsRuntimeFolder(folder_));
  EXPECT_THROW((void)ChooseModernRuntime(folder_.string()), ToolError);
  MakeFile("System.Private.CoreLib.dll");
  EXPECT_TRUE(IsRuntimeFolder(folder_));
  const ModernRuntime runtime = ChooseModernRuntime(folder_.string());
  EXPECT_EQ(runtime.folder, folder_.lexically_normal());
  EXPECT_FALSE(runtime.root);
}

TEST_F(RuntimeLocator, TakesTheVersionFromTheFolderName) {
  EXPECT_EQ(VersionOfRuntimeFile("C:\\dotnet\\shared\\Microsoft.NETCore.App\\8.0.33\\coreclr.dll"), "8.0.33");
  MakeFile("coreclr.dll");
  EXPECT_EQ(VersionOfRuntimeFile(folder_ / "coreclr.dll"), "of unknown version");
}

}  // namespace
}  // namespace clr_host_memory::tool
