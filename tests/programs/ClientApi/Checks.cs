using System;
using System.Diagnostics;
using System.Threading;

// Prints a line for each check, and counts those that failed.
internal static class Checks
{
    public static int Failures { get; private set; }

    public static void That(bool right, string what)
    {
        Failures += right ? 0 : 1;
        Console.WriteLine((right ? "ok " : "FAILED ") + what);
    }

    // Waits up to 15 seconds for the condition.
    public static void Soon(Func<bool> condition, string what)
    {
        var watch = Stopwatch.StartNew();
        while (!condition() && watch.Elapsed < TimeSpan.FromSeconds(15))
        {
            Thread.Sleep(20);
        }
        That(condition(), what);
    }

    // The call must throw exactly this exception, with a text that contains `words`. It has its own thread: under Wine 8,
    // .NET 8 may crash on the second exception on the same thread.
    public static void Throws<T>(Action call, string words, string what)
        where T : Exception
    {
        Exception? caught = null;
        var thread = new Thread(() =>
        {
            try
            {
                call();
            }
            catch (Exception exception)
            {
                caught = exception;
            }
        });
        thread.Start();
        thread.Join();
        bool right = caught?.GetType() == typeof(T) && caught.Message.Contains(words, StringComparison.Ordinal);
        That(right, what + (right ? "" : " (" + (caught == null ? "nothing" : caught.GetType() + ": " + caught.Message) + ")"));
    }
}
