using System;
using System.Collections.Generic;
using System.Reflection.Emit;

// KeptDynamicMethods [COUNT]: makes dynamic methods, calls and keeps them, so that the code heap grows. Stops after
// COUNT (default: no end). Exit code 0: all fitted; 42: an OutOfMemoryException was caught.
internal static class KeptDynamicMethods
{
    private static int Main(string[] args)
    {
        int count = args.Length > 0 ? int.Parse(args[0]) : int.MaxValue;
        var kept = new List<Func<int, int>>();
        try
        {
            while (kept.Count < count)
            {
                kept.Add(Make(kept.Count));
                kept[kept.Count - 1](1);
            }
        }
        catch (OutOfMemoryException)
        {
            return 42;
        }
        Console.WriteLine("kept " + kept.Count + " methods");
        return 0;
    }

    private static Func<int, int> Make(int number)
    {
        var method = new DynamicMethod("Kept", typeof(int), new[] { typeof(int) });
        ILGenerator il = method.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        for (int i = 0; i < 100; ++i)
        {
            il.Emit(OpCodes.Ldc_I4, number + i);
            il.Emit(i % 2 == 0 ? OpCodes.Xor : OpCodes.Mul);
        }
        il.Emit(OpCodes.Ret);
        return (Func<int, int>)method.CreateDelegate(typeof(Func<int, int>));
    }
}
