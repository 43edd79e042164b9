using System;
using System.Collections.Generic;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using ClrHostMemory;

// CollectibleContexts [ROUNDS [CONTEXTS]]: loads CONTEXTS (10) copies of this assembly, each into its own collectible
// context, runs code in them, and unloads them. Repeats that ROUNDS (12) times. Prints a line after each round, when all
// are unloaded:
// "round <n> charged <bytes>", the memory manager's charge, or 0 without a manager. Exit code 1: a context was not
// unloaded.
// .NET 10 under Wine 8 needs DOTNET_EnableWriteXorExecute=0, as LoadAssemblies does.
internal static class CollectibleContexts
{
    // The types loaded in each context: they use statics, generics and virtual methods.
    internal abstract class Shape
    {
        private static readonly List<Shape> all_ = new();
        protected Shape() => all_.Add(this);
        public abstract double Area { get; }
        public static int Count => all_.Count;
    }

    internal sealed class Square<T> : Shape
    {
        private readonly T side_;
        public Square(T side) => side_ = side;
        public override double Area => Convert.ToDouble(side_) * Convert.ToDouble(side_);
    }

    // Called only in copies: the objects that the statics hold are freed together with their context.
    public static double Work(int number)
    {
        double sum = new Square<int>(number).Area + new Square<double>(number).Area + new Square<long>(number).Area +
                     new Square<short>((short)number).Area;
        var words = new Dictionary<string, Shape>();
        for (int i = 0; i < 100; ++i)
        {
            words["word " + i] = new Square<byte>((byte)i);
        }
        foreach (Shape shape in words.Values)
        {
            sum += shape.Area;
        }
        return sum + Shape.Count;
    }

    private static int Main(string[] args)
    {
        int rounds = args.Length > 0 ? int.Parse(args[0]) : 12;
        int contexts = args.Length > 1 ? int.Parse(args[1]) : 10;
        HostMemory.TryGetCurrent(out HostMemory? memory);
        for (int round = 1; round <= rounds; ++round)
        {
            var loaded = new List<WeakReference>();
            for (int i = 0; i < contexts; ++i)
            {
                loaded.Add(LoadRunUnload(i));
            }
            for (int i = 0; i < 20 && loaded.Exists(context => context.IsAlive); ++i)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }
            int alive = loaded.FindAll(context => context.IsAlive).Count;
            if (alive != 0)
            {
                Console.WriteLine("round " + round + ": " + alive + " contexts not unloaded");
                return 1;
            }
            // The GC keeps free memory committed, which would look like a leak. An aggressive collection decommits it.
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            Console.WriteLine("round " + round + " charged " + (memory?.GetStatistics().Charged ?? 0));
        }
        return 0;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference LoadRunUnload(int number)
    {
        var context = new AssemblyLoadContext("copy " + number, isCollectible: true);
        Assembly copy = context.LoadFromAssemblyPath(typeof(CollectibleContexts).Assembly.Location);
        MethodInfo work = copy.GetType(nameof(CollectibleContexts))!.GetMethod(nameof(Work))!;
        // The areas of 4 squares of `number`, of the squares of 0 to 99, and the count of all 104 shapes.
        double expected = 4.0 * number * number + 328_350 + 104;
        if ((double)work.Invoke(null, new object[] { number })! != expected)
        {
            throw new InvalidOperationException("the copy computes something else");
        }
        context.Unload();
        return new WeakReference(context);
    }
}
