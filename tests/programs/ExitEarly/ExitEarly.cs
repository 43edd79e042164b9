using System;
using System.Threading;

// ExitEarly: ends the process from a nested call while other threads allocate. Exit code 7.
internal static class ExitEarly
{
    private static int Main()
    {
        for (int i = 0; i < 4; ++i)
        {
            var thread = new Thread(Churn) { IsBackground = true };
            thread.Start();
        }
        Thread.Sleep(50);
        try
        {
            Nested(10);
        }
        finally
        {
            Console.WriteLine("never printed");
        }
        return 0;
    }

    private static void Nested(int depth)
    {
        if (depth > 0)
        {
            Nested(depth - 1);
        }
        Console.WriteLine("exiting early");
        Environment.Exit(7);
    }

    private static void Churn()
    {
        while (true)
        {
            GC.KeepAlive(new byte[100_000]);
        }
    }
}
