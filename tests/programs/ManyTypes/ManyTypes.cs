using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

// ManyTypes [COUNT]: instantiates ever more generic types and runs their class constructors, so that the loader heaps
// grow. Stops after COUNT (default: no end). Exit code 0: all fitted; 42: an OutOfMemoryException was caught, possibly as
// the reason of another exception; 1: another exception.
internal static class ManyTypes
{
    private struct Pair<First, Second>
    {
        public static readonly object Made = typeof(First);
    }

    private static int Main(string[] args)
    {
        int count = args.Length > 0 ? int.Parse(args[0]) : int.MaxValue;
        var types = new List<Type> { typeof(int), typeof(string) };
        try
        {
            for (int first = 0; types.Count < count; ++first)
            {
                for (int second = 0; second <= first && types.Count < count; ++second)
                {
                    Type type = typeof(Pair<,>).MakeGenericType(types[first], types[second]);
                    RuntimeHelpers.RunClassConstructor(type.TypeHandle);
                    types.Add(type);
                }
            }
        }
        catch (Exception exception)
        {
            Exception? reason = exception;
            while (reason != null && !(reason is OutOfMemoryException))
            {
                reason = reason.InnerException;
            }
            if (reason != null)
            {
                return 42;
            }
            Console.WriteLine(exception);
            return 1;
        }
        Console.WriteLine("made " + types.Count + " types");
        return 0;
    }
}
