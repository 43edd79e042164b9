using System;

// Crash: ends by an unhandled exception.
internal static class Crash
{
    private static int Main()
    {
        Console.WriteLine("crashing");
        throw new InvalidOperationException("meant to be unhandled");
    }
}
