using System;
using System.Runtime.InteropServices;

// Hello [EXIT_CODE]: says which runtime it runs on.
internal static class Hello
{
    private static int Main(string[] args)
    {
        Console.WriteLine("hello from " + RuntimeInformation.FrameworkDescription);
        return args.Length > 0 ? int.Parse(args[0]) : 0;
    }
}
