using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

// Crash [HOW]: ends in one of the ways in which programs crash.
//   unhandled   an exception on the main thread (the default)
//   thread      an exception on another thread while the main thread waits
//   failfast    Environment.FailFast
//   native      an access violation inside a P/Invoke
//   overflow    a stack overflow
//   exit        Environment.Exit from another thread, exit code 9
internal static class Crash
{
    [DllImport("ntdll.dll", EntryPoint = "RtlMoveMemory")]
    private static extern void MoveMemory(IntPtr to, IntPtr from, UIntPtr size);

    private static int Main(string[] args)
    {
        Console.WriteLine("crashing");
        switch (args.Length > 0 ? args[0] : "unhandled")
        {
            case "unhandled":
                throw new InvalidOperationException("meant to be unhandled");
            case "thread":
                OnAnotherThread(() => throw new InvalidOperationException("meant to be unhandled on a thread"));
                break;
            case "failfast":
                Environment.FailFast("meant to fail fast");
                break;
            case "native":
                MoveMemory(new IntPtr(16), new IntPtr(32), (UIntPtr)8);
                break;
            case "overflow":
                Console.WriteLine(Deeper(1));
                break;
            case "exit":
                OnAnotherThread(() => Environment.Exit(9));
                break;
            default:
                return 2;
        }
        Console.WriteLine("never printed");
        return 0;
    }

    private static void OnAnotherThread(ThreadStart start)
    {
        new Thread(start).Start();
        Thread.Sleep(Timeout.Infinite);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Deeper(int depth) => Deeper(depth + 1) + depth;
}
