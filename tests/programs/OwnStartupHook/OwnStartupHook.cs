using System;

// A start-up hook of an app: prints a line before Main.
internal static class StartupHook
{
    public static void Initialize() => Console.WriteLine("the app's own hook");
}
