using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

// ManyTypes [COUNT]: instantiates ever more generic types and runs their class constructors, so that the loader heaps
// grow. Stops after COUNT (default: no end). Exit code: as in Ending.cs.
internal static class ManyTypes
{
    private struct Pair<First, Second>
    {
        public static readonly object Made = typeof(First);
    }

    private static int Main(string[] args)
    {
        int count = args.Length > 0 ? int.Parse(args[0]) : int.MaxValue;
        return Ending.Of(() => Make(count));
    }

    private static void Make(int count)
    {
        var types = new List<Type> { typeof(int), typeof(string) };
        for (int first = 0; types.Count < count; ++first)
        {
            for (int second = 0; second <= first && types.Count < count; ++second)
            {
                Type type = typeof(Pair<,>).MakeGenericType(types[first], types[second]);
                RuntimeHelpers.RunClassConstructor(type.TypeHandle);
                types.Add(type);
            }
        }
        Console.WriteLine("made " + types.Count + " types");
    }
}
