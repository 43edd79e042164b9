#include "tool/command_line/options.h"

#include <clr_host_memory/version.h>

#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstddef>

namespace clr_host_memory::tool {
namespace {

constexpr const char* kVersion = "clrmem " CLR_HOST_MEMORY_VERSION_TEXT;

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
  return ToolError("unknown option " + option, "'clrmem " + command + "--help' lists the options");
}

// The texts of options, before they are interpreted.
struct RunTexts {
  std::optional<std::string> limit;
  PolicyTexts policy;
};

// Adds the options that a running program can have, too.
void AddLiveOptions(CLI::App* command, RunTexts* texts, RunOptions* options) {
  command->add_option("--limit", texts->limit, "Memory that the runtime may commit: 256M, 1.5G (default: no limit)")
      ->type_name("SIZE");
  command
      ->add_option("--headroom", texts->policy.headroom,
                   "Part of the limit kept for process-critical requests (default: 1/32, 2M to 32M), and part kept "
                   "for domain-critical ones, too")
      ->type_name("SIZE|N%[,SIZE|N%]");
  command
      ->add_option("--wait", texts->policy.wait,
                   "Longest wait of a request for memory: 2s, or task=2s,domain=1s,process=1s (default: no wait)")
      ->type_name("TIME|LEVEL=TIME,...");
  command
      ->add_option("--commit-headroom", texts->policy.commit_headroom,
                   "Part of the headroom that is committed at the start, for the case that the OS has no more memory")
      ->type_name("SIZE");
  command->add_flag("--count-all", texts->policy.count_whole_process,
                    "Count all memory that the process commits against the limit");
  command
      ->add_option("--limit-at", texts->policy.limit_at, "Change the limit while APP runs: 2s=64M, 1m=none; repeatable")
      ->type_name("TIME=SIZE|none")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--on-thrash", texts->policy.on_thrash,
                   "Reaction to a runtime that spins at its limit: report it (default), or stop APP")
      ->type_name("report|stop");
  command->add_option("--summary", options->summary, "Also write the summary to this file, as JSON")->type_name("FILE");
  command->add_flag("--quiet", options->quiet, "Write no summary to standard error");
  command
      ->add_option("--bridge", options->bridged_modules,
                   "Also bridge modules with this file name, whenever they are loaded: plugin.dll; repeatable")
      ->type_name("NAME.dll")
      ->expected(1)
      ->take_all();
  command->add_flag("--accounting", options->accounting,
                    "Report at the end where the process's memory is, hosted and not hosted");
}

// Adds those that need the program's start.
void AddStartOptions(CLI::App* command, PolicyTexts* policy, RunOptions* options) {
  command
      ->add_option("--gc-limit", policy->gc_limit,
                   "Heap limit that the GC receives at its start: auto (default: derived from --limit), off, or a size")
      ->type_name("auto|off|SIZE");
  command
      ->add_option("--companion", policy->companion,
                   "Load the companion, which tells a running GC its limit: on (default; .NET 8 and later), or off")
      ->type_name("on|off");
  command->add_option("--runtime", options->runtime, "A dotnet root, a runtime folder, or auto (default)")
      ->type_name("PATH");
  command->add_flag("--gc-container", options->gc_container,
                    "Present the limit to the GC as a container's limit; the GC then limits its heap to 75 % of it");
  command->add_flag("--no-bridge", options->no_bridge, "Host APP in the same way, but without the memory manager");
  command->add_flag("--children", options->children,
                    "Put the programs that APP starts under the manager, too, each with these options");
  command->add_flag("--agent", options->agent,
                    "Run APP in a process of its own, as clrmem does by itself for an .exe that is native code");
}

// Interprets the options of a program that runs, or starts. Throws ToolError.
void Interpret(const RunTexts& texts, RunOptions* options) {
  if (texts.limit) options->limit = ParseLimit(*texts.limit, "--limit");
  options->policy = ParsePolicy(texts.policy, options->limit);
}

}  // namespace

Options ParseOptions(const std::vector<std::string>& arguments) {
  CLI::App app("Runs a managed program and routes every memory request of its runtime through ClrHostMemory.",
               "clrmem");
  // Under Wine "/x" is a path, so options do not begin with a slash.
  app.allow_windows_style_options(false);
  app.get_formatter()->column_width(36);
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(0, 1);
  app.footer(
      "Exit code: APP's own. 2: an error of clrmem; one line on standard error names the problem and the remedy.");

  RunOptions run;
  RunTexts texts;
  PolicyTexts& policy = texts.policy;
  CLI::App* run_command = app.add_subcommand("run", "Run APP under the memory manager");
  AddLiveOptions(run_command, &texts, &run);
  AddStartOptions(run_command, &policy, &run);
  run_command->footer(
      "Everything after APP is passed to APP, including options.\n\n"
      "The least --limit is what the runtime needs to start, 5M to 6M for hello world. If a limit is less, clrmem "
      "runs\n"
      "nothing and names the least that works.\n\n"
      "Example: clrmem run --limit 256M --summary figures.json App.dll --port 8080");

  AttachOptions attach;
  CLI::App* attach_command =
      app.add_subcommand("attach", "Put a running .NET program under the memory manager, from now on");
  AddLiveOptions(attach_command, &texts, &attach.run);
  attach_command->add_option("PID", attach.process, "The id of the program's process")->type_name("");
  attach_command->footer(
      "What the program has committed by now is not charged, and its GC keeps the limit that it started with.\n"
      "clrmem returns at once. The program writes the summary when it ends.");

  InfoOptions info;
  CLI::App* info_command = app.add_subcommand("info", "List the runtimes found and the memory figures of the OS");
  info_command->add_option("--runtime", info.runtime, "Also search this dotnet root")->type_name("PATH");

  ScriptedOptions scripted;
  std::optional<std::string> scripted_limit;
  CLI::App* scripted_command =
      app.add_subcommand("scripted", "Make the calls of a desktop CLR to the memory manager, without a CLR");
  scripted_command->add_option("--limit", scripted_limit, "Memory that the script may commit (default: no limit)")
      ->type_name("SIZE");
  scripted_command->add_option("--summary", scripted.summary, "Also write the summary to this file, as JSON")
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
    if (first == "--emergency-reserve") {
      throw ToolError("--emergency-reserve no longer exists: what it added to the limit is a headroom within it now",
                      "use --commit-headroom SIZE, or leave it out");
    }
    if (first.starts_with("-")) {
      const auto commands = app.get_subcommands();
      throw UnknownOption(first, commands.empty() ? "" : commands.front()->get_name() + " ");
    }
    if (*info_command || *scripted_command || *attach_command)
      throw ToolError("unexpected argument " + Quoted(first), "remove it");
    throw ToolError("unknown command " + Quoted(first),
                    "use clrmem run, clrmem attach, clrmem info or clrmem scripted");
  } catch (const CLI::ParseError& error) {
    const auto commands = app.get_subcommands();
    const std::string command = commands.empty() ? "" : commands.front()->get_name() + " ";
    throw ToolError(Problem(error), "'clrmem " + command + "--help' shows the syntax");
  }

  if (*info_command) return info;
  if (*attach_command) {
    if (attach.process == 0) throw ToolError("the process is missing", "use clrmem attach [OPTIONS] PID");
    Interpret(texts, &attach.run);
    attach.command_line = arguments;
    return attach;
  }
  if (*scripted_command) {
    if (scripted_limit) scripted.limit = ParseSize(*scripted_limit, "--limit");
    return scripted;
  }
  if (!*run_command)
    throw ToolError("the command is missing", "use clrmem run APP, clrmem attach PID, clrmem info or clrmem scripted");

  if (rest.empty()) throw ToolError("the program to run is missing", "use clrmem run [OPTIONS] APP [ARGUMENTS...]");
  const char* limiting = texts.limit ? "--limit" : policy.FirstGiven();
  if (run.no_bridge && run.accounting) {
    throw ToolError("--no-bridge runs APP without the memory manager, so --accounting would have no figures",
                    "remove one of the two options");
  }
  if (run.no_bridge && limiting != nullptr) {
    throw ToolError(
        "--no-bridge runs APP without the memory manager, so " + std::string(limiting) + " would have no effect",
        "remove one of the two options");
  }
  if (run.no_bridge && (run.gc_container || !run.bridged_modules.empty())) {
    throw ToolError(
        std::string(run.gc_container ? "--gc-container" : "--bridge") + " needs the bridge, which --no-bridge omits",
        "remove one of the two options");
  }
  if (run.no_bridge && run.children) {
    throw ToolError("--no-bridge runs APP without the memory manager, so --children would have no effect",
                    "remove one of the two options");
  }
  if (run.gc_container && !texts.limit) throw ToolError("--gc-container needs a limit", "add --limit");
  if (run.gc_container) {
    if (policy.gc_limit && *policy.gc_limit != "off") {
      throw ToolError("--gc-limit and --gc-container both set the heap limit of the GC",
                      "remove one of the two options");
    }
    policy.gc_limit = "off";  // the GC computes its limit itself from the container's limit
  }
  Interpret(texts, &run);
  run.command_line.assign(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(own_count));
  run.command_line.insert(run.command_line.end(), {"--", rest.front()});
  run.app = rest.front();
  run.arguments.assign(rest.begin() + 1, rest.end());
  return run;
}

}  // namespace clr_host_memory::tool
