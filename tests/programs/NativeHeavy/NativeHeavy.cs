using System;
using System.Collections.Generic;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using System.Threading;

// NativeHeavy [REGEXES [METHODS [THREADS]]]: uses much memory outside the GC heap. Compiles REGEXES (30) regular
// expressions to code and uses them. Makes METHODS (300) dynamic methods. Lets THREADS (64) threads with stacks of 1
// MiB recurse at the same time. Then releases all of it. Exit code 1: a result was wrong. .NET 10 under Wine 8 needs
// DOTNET_EnableWriteXorExecute=0, as LoadAssemblies does.
internal static class NativeHeavy
{
    private const int StackBytes = 1024 * 1024;
    private const int Depth = 2000;

    private static int Main(string[] args)
    {
        int regexes = args.Length > 0 ? int.Parse(args[0]) : 30;
        int methods = args.Length > 1 ? int.Parse(args[1]) : 300;
        int threads = args.Length > 2 ? int.Parse(args[2]) : 64;
        bool right = Regexes(regexes) && DynamicMethods(methods) && Stacks(threads);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Console.WriteLine(right ? "all right" : "wrong");
        return right ? 0 : 1;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Regexes(int count)
    {
        var compiled = new List<Regex>();
        for (int i = 0; i < count; ++i)
        {
            compiled.Add(new Regex("^(?<word>[a-z]{1," + (i + 3) + "})[-_ ]?(?<number>\\d+|x" + i + "(?:ab|cd)*)$",
                                   RegexOptions.Compiled | RegexOptions.CultureInvariant));
        }
        for (int i = 0; i < count; ++i)
        {
            Match match = compiled[i].Match("abc-x" + i + "abcdab");
            if (!match.Success || match.Groups["word"].Value != "abc" || compiled[i].IsMatch("ABC"))
            {
                return false;
            }
        }
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool DynamicMethods(int count)
    {
        var made = new List<Func<int, int>>();
        for (int i = 0; i < count; ++i)
        {
            var method = new DynamicMethod("Add" + i, typeof(int), new[] { typeof(int) });
            ILGenerator il = method.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            for (int k = 0; k < 60; ++k)
            {
                il.Emit(OpCodes.Ldc_I4, i);
                il.Emit(OpCodes.Add);
            }
            il.Emit(OpCodes.Ret);
            made.Add((Func<int, int>)method.CreateDelegate(typeof(Func<int, int>)));
        }
        for (int i = 0; i < count; ++i)
        {
            if (made[i](7) != 7 + 60 * i)
            {
                return false;
            }
        }
        return true;
    }

    private static bool Stacks(int count)
    {
        int right = 0;
        using var together = new Barrier(count);
        var threads = new Thread[count];
        for (int i = 0; i < count; ++i)
        {
            threads[i] = new Thread(() =>
            {
                if (Recurse(Depth, together) == Depth)
                {
                    Interlocked.Increment(ref right);
                }
            }, StackBytes);
            threads[i].Start();
        }
        foreach (Thread thread in threads)
        {
            thread.Join();
        }
        return right == count;
    }

    // All threads meet at the barrier when their stacks are deepest.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Recurse(int depth, Barrier together)
    {
        if (depth == 0)
        {
            together.SignalAndWait();
            return 0;
        }
        return Recurse(depth - 1, together) + 1;
    }
}
