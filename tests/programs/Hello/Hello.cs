using System;
using System.Runtime.InteropServices;

// Hello [EXIT_CODE]: prints the runtime it runs on, and ends with EXIT_CODE (0).
public static class Hello
{
    private static int Main(string[] args)
    {
        Console.WriteLine("hello from " + RuntimeInformation.FrameworkDescription);
        return args.Length > 0 ? int.Parse(args[0]) : 0;
    }

    // For hosts that call a method: returns the length of the text.
    public static int LengthOf(string text) => text.Length;
}
