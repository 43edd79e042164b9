#include "tool/command_line/options.h"

#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstddef>

namespace clr_host_memory::tool {
namespace {

constexpr const char* kVersion = "clrmem 0.1.0";

// Returns CLI11's message without line ends, as the first half of clrmem's error line.
std::string Problem(const CLI::ParseError& error) {
  std::string text = error.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

// Returns the index of APP, or of the "--" before it, in the arguments of run. Returns their count if there is no
// APP.
std::size_t FindApp(const CLI::App& run, const std::vector<std::string>& arguments) {
  std::size_t at = 1;
  while (at < arguments.size() && arguments[at].starts_with("-") && arguments[at] != "--") {
    const CLI::Option* option = run.get_option_no_throw(arguments[at]);
    const bool takes_value = option != nullptr && option->get_items_expected_min() > 0;
    at += takes_value ? 2 : 1;
  }
  return std::min(at, arguments.size());
}

std::string Quoted(const std::string& text) { return "'" + text + "'"; }

ToolError UnknownOption(const std::string& option, const std::string& command) {
  return ToolError("unknown option " + option, "'clrmem " + command + "--help' lists what there is");
}

}  // namespace

Options ParseOptions(const std::vector<std::string>& arguments) {
  CLI::App app("Runs managed programs with every memory request of their runtime going through ClrHostMemory.",
               "clrmem");
  // Under Wine "/x" is a path, so options do not begin with a slash.
  app.allow_windows_style_options(false);
  app.get_formatter()->column_width(36);
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(0, 1);
  app.footer("Exit code: the app's; 2 for an error of clrmem's own, with one line that says what to do.");

  RunOptions run;
  std::optional<std::string> run_limit;
  PolicyTexts policy;
  CLI::App* run_command = app.add_subcommand("run", "Run APP under the memory manager");
  run_command->add_option("--limit", run_limit, "Memory the runtime may have committed: 256M, 1.5G (default: no limit)")
      ->type_name("SIZE");
  run_command
      ->add_option("--headroom", policy.headroom,
                   "Part of the limit for process-critical requests only, and for domain-critical ones")
      ->type_name("SIZE|N%[,SIZE|N%]");
  run_command
      ->add_option("--wait", policy.wait, "How long requests may wait for memory: 2s, or task=2s,domain=1s,process=1s")
      ->type_name("TIME|LEVEL=TIME,...");
  run_command
      ->add_option("--emergency-reserve", policy.emergency_reserve,
                   "Kept back on top of the limit, for when nothing else is left")
      ->type_name("SIZE");
  run_command
      ->add_option("--gc-limit", policy.gc_limit,
                   "What the GC is told to keep to when it starts: auto (default; to fit the limit), off, or a size")
      ->type_name("auto|off|SIZE");
  run_command->add_flag("--count-all", policy.count_whole_process,
                        "What the process has committed besides counts, too");
  run_command->add_option("--limit-at", policy.limit_at, "Change the limit while APP runs: 2s=64M, 1m=none; repeatable")
      ->type_name("TIME=SIZE|none")
      ->expected(1)
      ->take_all();
  run_command
      ->add_option("--on-thrash", policy.on_thrash, "When the runtime spins at its limit: report it, or stop APP")
      ->type_name("report|stop");
  run_command->add_option("--runtime", run.runtime, "A dotnet root, a runtime folder, or auto (default)")
      ->type_name("PATH");
  run_command->add_option("--summary", run.summary, "Write the summary to this file as JSON, too")->type_name("FILE");
  run_command->add_flag("--quiet", run.quiet, "No summary on standard error, and no audit for it");
  run_command
      ->add_option("--bridge", run.bridged_modules,
                   "Bridge modules of this file name, too, whenever they are loaded: plugin.dll; repeatable")
      ->type_name("NAME.dll")
      ->expected(1)
      ->take_all();
  run_command->add_flag("--gc-container", run.gc_container,
                        "The GC takes the limit for a container's and keeps its heap to 75 % of it");
  run_command->add_flag("--accounting", run.accounting, "Say at the end where the process's memory is, hosted or not");
  run_command->add_flag("--no-bridge", run.no_bridge, "Host APP the same way, but without the memory manager");
  run_command->footer("Everything after APP belongs to APP, options too.");

  InfoOptions info;
  CLI::App* info_command = app.add_subcommand("info", "List the runtimes found and what the OS says of memory");
  info_command->add_option("--runtime", info.runtime, "Also look in this dotnet root")->type_name("PATH");

  ScriptedOptions scripted;
  std::optional<std::string> scripted_limit;
  CLI::App* scripted_command =
      app.add_subcommand("scripted", "Play a desktop CLR's calls against the manager, without any CLR");
  scripted_command->add_option("--limit", scripted_limit, "Memory the script may have committed (default: none)")
      ->type_name("SIZE");
  scripted_command->add_option("--summary", scripted.summary, "Write the summary to this file as JSON, too")
      ->type_name("FILE");

  const bool runs = !arguments.empty() && arguments.front() == "run";
  const std::size_t own_count = runs ? FindApp(*run_command, arguments) : arguments.size();
  std::vector<std::string> own(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(own_count));
  std::vector<std::string> rest(arguments.begin() + static_cast<std::ptrdiff_t>(own_count), arguments.end());
  // "--" marks the next argument as APP.
  if (!rest.empty() && rest.front() == "--") rest.erase(rest.begin());
  std::reverse(own.begin(), own.end());
  try {
    app.parse(own);
  } catch (const CLI::CallForHelp&) {
    if (app.get_subcommands().empty()) return PrintText{app.help()};
    std::string help = app.get_subcommands().front()->help("clrmem");
    // APP is not declared to CLI11, which would then parse APP's arguments, too. So the usage line is completed here.
    const std::string usage = "[OPTIONS]";
    if (*run_command) help.replace(help.find(usage), usage.size(), usage + " APP [ARGUMENTS...]");
    return PrintText{help};
  } catch (const CLI::CallForVersion&) {
    return PrintText{std::string(kVersion) + "\n"};
  } catch (const CLI::ExtrasError&) {
    std::vector<std::string> extras = app.remaining(true);
    const std::string first = extras.empty() ? std::string() : extras.front();
    if (first.starts_with("-")) {
      const auto commands = app.get_subcommands();
      throw UnknownOption(first, commands.empty() ? "" : commands.front()->get_name() + " ");
    }
    if (*info_command || *scripted_command) throw ToolError("too many arguments, " + Quoted(first), "leave it out");
    throw ToolError("unknown command " + Quoted(first), "use clrmem run, clrmem info or clrmem scripted");
  } catch (const CLI::ParseError& error) {
    throw ToolError(Problem(error), "'clrmem --help' says how to write it");
  }

  if (*info_command) return info;
  if (*scripted_command) {
    if (scripted_limit) scripted.limit = ParseSize(*scripted_limit, "--limit");
    return scripted;
  }
  if (!*run_command) throw ToolError("no command", "use clrmem run APP, clrmem info or clrmem scripted");

  if (rest.empty()) throw ToolError("no program to run", "use clrmem run [OPTIONS] APP [ARGUMENTS...]");
  const char* limiting = run_limit ? "--limit" : policy.FirstGiven();
  if (run.no_bridge && run.accounting) {
    throw ToolError("--no-bridge leaves the memory manager out, so there is no account", "leave one of them out");
  }
  if (run.no_bridge && limiting != nullptr) {
    throw ToolError("--no-bridge leaves the memory manager out, so " + std::string(limiting) + " would not hold",
                    "leave one of them out");
  }
  if (run.no_bridge && (run.gc_container || !run.bridged_modules.empty())) {
    throw ToolError("--no-bridge leaves no bridge for " + std::string(run.gc_container ? "--gc-container" : "--bridge"),
                    "leave one of them out");
  }
  if (run.gc_container && !run_limit) throw ToolError("--gc-container has no limit to show", "give a --limit");
  if (run_limit) run.limit = ParseLimit(*run_limit, "--limit");
  if (run.gc_container) {
    if (policy.gc_limit && *policy.gc_limit != "off") {
      throw ToolError("--gc-limit and --gc-container both tell the GC what to keep to", "leave one of them out");
    }
    policy.gc_limit = "off";  // the GC computes its limit itself from the container's limit
  }
  run.policy = ParsePolicy(policy, run.limit);
  run.app = rest.front();
  run.arguments.assign(rest.begin() + 1, rest.end());
  return run;
}

}  // namespace clr_host_memory::tool
