using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using ClrHostMemory;

// What DOTNET_STARTUP_HOOKS calls before Main, for runtimes that no host starts the companion in. The runtime requires
// this name, outside of any namespace.
internal static unsafe class StartupHook
{
    // "<process id>:<IClrHostMemoryControl, hexadecimal>:<limit>", set by clrmem's agent in the same process. The
    // companion receives the reference.
    private const string FromAgent = "CLR_HOST_MEMORY_COMPANION";
    // Options of `clrmem attach`, set by a user: the process is to be put under a manager.
    private const string FromUser = "CLRMEM_OPTIONS";
    private const int UsageError = 2;

    public static void Initialize()
    {
        if (TakeFromAgent(out void* control, out ulong startLimit) || Attach(out control, out startLimit))
        {
            Companion.Start(control, startLimit);
        }
    }

    // False: the variable is not set, or another process's, which has started this one.
    private static bool TakeFromAgent(out void* control, out ulong startLimit)
    {
        control = null;
        startLimit = 0;
        string[] parts = (Environment.GetEnvironmentVariable(FromAgent) ?? "").Split(':');
        if (parts.Length != 3 || parts[0] != Environment.ProcessId.ToString(CultureInfo.InvariantCulture))
        {
            return false;
        }
        Environment.SetEnvironmentVariable(FromAgent, null);
        control = (void*)nuint.Parse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        startLimit = ulong.Parse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture);
        return true;
    }

    // Loads clrmem's agent, which is beside this assembly, into this process. If the user's options cannot be carried
    // out, the agent writes the reason, and the program does not run. False: there is nothing to do. The user has set no
    // options, the process is under clrmem already, or the agent is for another processor.
    private static bool Attach(out void* control, out ulong startLimit)
    {
        control = null;
        startLimit = 0;
        string? options = Environment.GetEnvironmentVariable(FromUser);
        string self = Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + ":";
        string manager = Environment.GetEnvironmentVariable("CLRMEM_MANAGER") ?? "";
        if (string.IsNullOrEmpty(options) || manager.StartsWith(self, StringComparison.Ordinal))
        {
            return false;
        }
        nint agent;
        try
        {
            agent = NativeLibrary.Load(
                Path.Combine(Path.GetDirectoryName(typeof(StartupHook).Assembly.Location)!, "clrmem-agent.dll"));
        }
        catch (BadImageFormatException)
        {
            return false;
        }
        catch (DllNotFoundException)
        {
            Console.Error.WriteLine("clrmem: clrmem-agent.dll is not beside ClrHostMemory.Companion.dll; install clrmem again");
            Environment.Exit(UsageError);
            return false;
        }
        var attach = (delegate* unmanaged[Cdecl]<char*, void**, ulong*, int>)NativeLibrary.GetExport(
            agent, "ClrMemAgentAttach");
        void* receivedControl;
        ulong receivedLimit;
        fixed (char* text = options)
        {
            if (attach(text, &receivedControl, &receivedLimit) != 0)
            {
                Environment.Exit(UsageError);
            }
        }
        control = receivedControl;
        startLimit = HasOwnGcLimit() ? 0 : receivedLimit;
        return control != null;
    }

    // A limit that the program's configuration or the environment gives the GC stays.
    private static bool HasOwnGcLimit()
    {
        foreach (string prefix in new[] { "DOTNET_", "COMPlus_" })
        {
            if (Environment.GetEnvironmentVariable(prefix + "GCHeapHardLimit") != null ||
                Environment.GetEnvironmentVariable(prefix + "GCHeapHardLimitPercent") != null)
            {
                return true;
            }
        }
        return AppContext.GetData("System.GC.HeapHardLimit") != null ||
               AppContext.GetData("System.GC.HeapHardLimitPercent") != null;
    }
}
