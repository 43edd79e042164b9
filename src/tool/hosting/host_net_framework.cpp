#include "tool/hosting/hosts.h"

#include "tool/hosting/net_framework.h"

#include <array>
#include <new>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {
namespace {

// The exit code of an unhandled managed exception. The CLR would end the process with the same code.
constexpr std::uint32_t kUnhandledManagedException = 0xE0434352;

// A BSTR, freed by its destructor.
class Bstr {
 public:
  explicit Bstr(const std::wstring& text) : text_(SysAllocStringLen(text.data(), static_cast<UINT>(text.size()))) {
    if (text_ == nullptr) throw std::bad_alloc();
  }
  Bstr(const Bstr&) = delete;
  Bstr& operator=(const Bstr&) = delete;
  ~Bstr() { SysFreeString(text_); }
  [[nodiscard]] BSTR get() const noexcept { return text_; }

 private:
  BSTR text_;
};

// A one-dimensional string[] (SAFEARRAY), freed by its destructor.
class StringArray {
 public:
  explicit StringArray(const std::vector<std::string>& strings)
      : array_(SafeArrayCreateVector(VT_BSTR, 0, static_cast<ULONG>(strings.size()))) {
    if (array_ == nullptr) throw std::bad_alloc();
    LONG index = 0;
    for (const std::string& string : strings) {
      // SafeArrayPutElement copies the string.
      if (FAILED(SafeArrayPutElement(array_, &index, Bstr(ToWide(string)).get()))) throw std::bad_alloc();
      ++index;
    }
  }
  StringArray(const StringArray&) = delete;
  StringArray& operator=(const StringArray&) = delete;
  ~StringArray() { SafeArrayDestroy(array_); }
  [[nodiscard]] SAFEARRAY* get() const noexcept { return array_; }

 private:
  SAFEARRAY* array_;
};

void Check(HRESULT hr, const char* call) {
  if (SUCCEEDED(hr)) return;
  throw ToolError(std::string("the .NET Framework cannot be hosted: ") + call + " returned " +
                      HexCode(static_cast<std::uint32_t>(hr)),
                  "repair the .NET Framework");
}

// Returns the exception's message, as COM interop passes it on.
std::string ErrorInfoText() {
  ComReference<IErrorInfo> info;
  if (GetErrorInfo(0, info.Receive()) != S_OK) return {};
  BSTR description = nullptr;
  if (FAILED(info->GetDescription(&description)) || description == nullptr) return {};
  const std::string text = ToUtf8(std::wstring_view(description, SysStringLen(description)));
  SysFreeString(description);
  return text;
}

ComReference<RuntimeInfo> FindRuntime(MetaHost& meta_host, const Program& program, const RunOptions& options) {
  std::wstring version = ToWide(options.runtime);
  if (options.runtime == "auto") version = ToWide(program.image.metadata_version);
  // A program built for 2.0 to 3.5 runs on 4.x if no older version is present, as on Windows without one.
  ComReference<RuntimeInfo> info;
  for (const std::wstring& candidate : {version, std::wstring(L"v4.0.30319")}) {
    const HRESULT hr =
        meta_host.GetRuntime(candidate.c_str(), kIidRuntimeInfo, reinterpret_cast<void**>(info.Receive()));
    BOOL loadable = FALSE;
    if (SUCCEEDED(hr) && SUCCEEDED(info->IsLoadable(&loadable)) && loadable) return info;
    if (options.runtime != "auto") break;
  }
  throw ToolError("the .NET Framework's runtime " + ToUtf8(version) + " is not present",
                  "'clrmem info' lists the installed ones; name one with --runtime");
}

// Creates a domain with the program's folder as its base and its App.exe.config. The base of the default domain would
// be clrmem's folder.
ComReference<AppDomain> CreateDomainFor(CorRuntimeHost& host, const Program& program) {
  ComReference<IUnknown> unknown_setup;
  Check(host.CreateDomainSetup(unknown_setup.Receive()), "ICorRuntimeHost::CreateDomainSetup");
  ComReference<AppDomainSetup> setup;
  Check(unknown_setup->QueryInterface(kIidAppDomainSetup, reinterpret_cast<void**>(setup.Receive())),
        "IAppDomainSetup");
  const std::wstring folder = program.file.parent_path().native() + L"\\";
  Check(setup->SetApplicationBase(Bstr(folder).get()), "IAppDomainSetup::ApplicationBase");
  Check(setup->SetConfigurationFile(Bstr(program.file.native() + L".config").get()),
        "IAppDomainSetup::ConfigurationFile");
  ComReference<IUnknown> unknown_domain;
  Check(host.CreateDomainEx(program.file.filename().c_str(), setup.get(), nullptr, unknown_domain.Receive()),
        "ICorRuntimeHost::CreateDomainEx");
  ComReference<AppDomain> domain;
  Check(unknown_domain->QueryInterface(kIidAppDomain, reinterpret_cast<void**>(domain.Receive())), "_AppDomain");
  return domain;
}

}  // namespace

std::uint32_t RunNetFramework(Session& session, const Program& program, const RunOptions& options) {
  if (options.gc_container || !options.bridged_modules.empty()) {
    throw ToolError(std::string(options.gc_container ? "--gc-container" : "--bridge") +
                        " is for .NET 6 and later; the .NET Framework calls the memory manager without a bridge",
                    "remove it");
  }
  const ComReference<MetaHost> meta_host = OpenMetaHost();
  const ComReference<RuntimeInfo> info = FindRuntime(*meta_host.get(), program, options);
  std::array<wchar_t, 256> version{};
  std::array<wchar_t, 1024> folder{};
  auto version_length = static_cast<DWORD>(version.size());
  auto folder_length = static_cast<DWORD>(folder.size());
  Check(info->GetVersionString(version.data(), &version_length), "ICLRRuntimeInfo::GetVersionString");
  Check(info->GetRuntimeDirectory(folder.data(), &folder_length), "ICLRRuntimeInfo::GetRuntimeDirectory");
  const std::filesystem::path runtime_folder(folder.data());
  session.SetRuntime(".NET Framework", ToUtf8(std::wstring_view(version.data())), runtime_folder);

  ComReference<RuntimeHost> runtime;
  Check(info->GetInterface(kClsidRuntimeHost, kIidRuntimeHost, reinterpret_cast<void**>(runtime.Receive())),
        "ICLRRuntimeInfo::GetInterface");
  if (session.manager() != nullptr) {
    // The CLR keeps its own reference to the control.
    const auto control = CreateHostControl(*session.manager());
    if (!control) throw std::bad_alloc();
    Check(runtime->SetHostControl(control->get()), "ICLRRuntimeHost::SetHostControl");
  }
  const HRESULT started = runtime->Start();
  if (FAILED(started)) {
    throw RuntimeDidNotStart(session, options,
                             "ICLRRuntimeHost::Start returned " + HexCode(static_cast<std::uint32_t>(started)));
  }
  // A CLR that uses the manager first requests a heap from it.
  if (session.manager() != nullptr &&
      session.manager()->Statistics().calls[kClrHostMemoryCreateMalloc][kClrHostMemoryOk] == 0) {
    throw ToolError("the .NET Framework's runtime did not ask for the memory manager, so no limit would hold",
                    "run the program with --no-bridge");
  }
  if (HMODULE clr = GetModuleHandleW(L"clr.dll"); clr != nullptr) WatchProcessEndOf(clr);

  ComReference<CorRuntimeHost> domains;
  Check(info->GetInterface(kClsidCorRuntimeHost, kIidCorRuntimeHost, reinterpret_cast<void**>(domains.Receive())),
        "ICLRRuntimeInfo::GetInterface");
  const ComReference<AppDomain> domain = CreateDomainFor(*domains.get(), program);
  if (FAILED(session.NoteManagedCodeBegins())) throw *session.NoRoomError();
  LONG exit_code = 0;
  const HRESULT executed = domain->ExecuteAssembly3(Bstr(program.file.native()).get(), nullptr,
                                                    StringArray(options.arguments).get(), &exit_code);
  if (FAILED(executed)) {
    // Either an exception left Main, or Main never ran. COM interop reports both alike. The CLR itself would print
    // the exception and end the process with this code.
    session.WriteError("Unhandled exception, " + HexCode(static_cast<std::uint32_t>(executed)) + ": " +
                       AsOneLine(ErrorInfoText()) + "\n");
    return kUnhandledManagedException;
  }
  return static_cast<std::uint32_t>(exit_code);
}

}  // namespace clr_host_memory::tool
