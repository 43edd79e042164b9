using System;
using System.IO;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

// HostReport WHAT ...: reports what a program sees of its host.
//   report [ARG...]   prints the runtime, the arguments, the working directory, the base directory, the environment
//                     variable CLRHM_REPORT and the setting Clrhm.Setting, one per line. Arguments are printed as
//                     UTF-16 code units in hexadecimal.
//   load NAME...      loads each assembly and prints its name and its file
//   cat               copies standard input to standard output unchanged
//   wait              prints "waiting" and waits, at most 20 seconds, for Ctrl+C or Ctrl+Break. Handles the key and
//                     prints its name. Exit code 5: a key was pressed; 6: none.
internal static class HostReport
{
    private static int Main(string[] args)
    {
        switch (args.Length > 0 ? args[0] : "report")
        {
            case "report": return Report(args);
            case "load": return Load(args);
            case "cat": return Cat();
            case "wait": return Wait();
            default: return 2;
        }
    }

    private static int Report(string[] args)
    {
        Console.WriteLine("runtime: " + RuntimeInformation.FrameworkDescription);
        for (int i = 1; i < args.Length; ++i)
        {
            var text = new StringBuilder("argument:");
            foreach (char unit in args[i])
            {
                text.Append(' ').Append(((int)unit).ToString("x"));
            }
            Console.WriteLine(text);
        }
        Console.WriteLine("command line: " + Path.GetFileName(Environment.GetCommandLineArgs()[0]) + " and " +
                          (Environment.GetCommandLineArgs().Length - 1) + " arguments");
        Console.WriteLine("directory: " + Environment.CurrentDirectory);
        Console.WriteLine("base: " + AppContext.BaseDirectory);
        Console.WriteLine("variable: " + Environment.GetEnvironmentVariable("CLRHM_REPORT"));
        Console.WriteLine("setting: " + AppContext.GetData("Clrhm.Setting"));
        return 0;
    }

    private static int Load(string[] args)
    {
        for (int i = 1; i < args.Length; ++i)
        {
            Assembly assembly = Assembly.Load(new AssemblyName(args[i]));
            Console.WriteLine("loaded: " + assembly.GetName().Name + " from " + assembly.Location);
        }
        return 0;
    }

    private static int Cat()
    {
        using (Stream input = Console.OpenStandardInput())
        using (Stream output = Console.OpenStandardOutput())
        {
            input.CopyTo(output);
        }
        return 0;
    }

    private static int Wait()
    {
        var pressed = new ManualResetEventSlim();
        Console.CancelKeyPress += (sender, e) =>
        {
            Console.WriteLine("pressed: " + e.SpecialKey);
            e.Cancel = true;
            pressed.Set();
        };
        Console.WriteLine("waiting");
        return pressed.Wait(TimeSpan.FromSeconds(20)) ? 5 : 6;
    }
}
