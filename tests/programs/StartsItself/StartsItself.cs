using System;
using System.Diagnostics;

// StartsItself HOW [ARGUMENTS...]: starts a process, waits for its end and returns its exit code.
// HOW is
// - full: Environment.ProcessPath with this program's own file and "child", as programs for `dotnet App.dll` do;
// - bare: Environment.ProcessPath with "child", as programs with their own .exe do;
// - other: the program and arguments that follow;
// - child: none; prints a line and returns 7.
internal static class StartsItself
{
    private const int ChildsExitCode = 7;

    private static int Main(string[] args)
    {
        string how = args.Length > 0 ? args[0] : "";
        var start = new ProcessStartInfo(Environment.ProcessPath!) { UseShellExecute = false };
        switch (how)
        {
            case "child":
                Console.WriteLine("child of " + (args.Length > 1 ? args[1] : "nobody"));
                return ChildsExitCode;
            case "full":
                start.ArgumentList.Add(typeof(StartsItself).Assembly.Location);
                goto case "bare";
            case "bare":
                start.ArgumentList.Add("child");
                start.ArgumentList.Add("a \"quoted\\\" parent");
                break;
            case "other":
                start.FileName = args[1];
                for (int i = 2; i < args.Length; i++)
                {
                    start.ArgumentList.Add(args[i]);
                }
                break;
            default:
                Console.Error.WriteLine("StartsItself full|bare|other|child");
                return 1;
        }
        using Process process = Process.Start(start)!;
        process.WaitForExit();
        Console.WriteLine("child returned " + process.ExitCode);
        return process.ExitCode;
    }
}
