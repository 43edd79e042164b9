using System;
using System.Collections.Generic;
using System.Linq.Expressions;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;

// LoadAssemblies [ROUNDS]: fills loader heaps and code heaps rather than the GC heap. Each of ROUNDS (20) rounds makes
// dynamic methods, dynamic types, a generic instantiation tree and a compiled expression. It also loads and unloads a
// collectible copy of this assembly. Exit code 1: a copy was not unloaded.
// .NET 10 under Wine 8 needs DOTNET_EnableWriteXorExecute=0 here. Otherwise freeing code is a fatal error (0x80131506)
// under every host.
internal static class LoadAssemblies
{
    private static readonly string[] names_ =
    {
        "System.Collections.Concurrent", "System.Linq", "System.Net.Http", "System.Private.Xml",
        "System.Text.Json", "System.Text.RegularExpressions", "System.Threading.Channels",
    };

    private static int Main(string[] args)
    {
        int rounds = args.Length > 0 ? int.Parse(args[0]) : 20;
        foreach (string name in names_)
        {
            // GetTypes makes the loader build every type's method table.
            Assembly.Load(name).GetTypes();
        }

        var unloaded = new List<WeakReference>();
        long sum = 0;
        for (int round = 0; round < rounds; ++round)
        {
            sum += DynamicMethods(round) + DynamicType(round) + Generics(round) + Compiled(round);
            unloaded.Add(Collectible());
        }
        for (int i = 0; i < 20 && unloaded.Exists(context => context.IsAlive); ++i)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        int alive = unloaded.FindAll(context => context.IsAlive).Count;
        Console.WriteLine("loaded " + AppDomain.CurrentDomain.GetAssemblies().Length +
                          " assemblies, sum " + sum + ", " + alive + " contexts not unloaded");
        return alive == 0 ? 0 : 1;
    }

    private static long DynamicMethods(int round)
    {
        long sum = 0;
        for (int i = 0; i < 50; ++i)
        {
            var method = new DynamicMethod("Add" + i, typeof(int), new[] { typeof(int) });
            ILGenerator il = method.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            for (int k = 0; k < 100; ++k)
            {
                il.Emit(OpCodes.Ldc_I4, i);
                il.Emit(OpCodes.Add);
            }
            il.Emit(OpCodes.Ret);
            sum += ((Func<int, int>)method.CreateDelegate(typeof(Func<int, int>)))(round);
        }
        return sum;
    }

    private static long DynamicType(int round)
    {
        var assembly = AssemblyBuilder.DefineDynamicAssembly(
            new AssemblyName("Round" + round), AssemblyBuilderAccess.RunAndCollect);
        ModuleBuilder module = assembly.DefineDynamicModule("Main");
        long sum = 0;
        for (int i = 0; i < 20; ++i)
        {
            TypeBuilder type = module.DefineType("T" + i, TypeAttributes.Public);
            MethodBuilder method = type.DefineMethod(
                "Value", MethodAttributes.Public | MethodAttributes.Static, typeof(int), null);
            ILGenerator il = method.GetILGenerator();
            il.Emit(OpCodes.Ldc_I4, i);
            il.Emit(OpCodes.Ret);
            Type created = type.CreateType()!;
            sum += (int)created.GetMethod("Value")!.Invoke(null, null)!;
        }
        return sum;
    }

    private static class Instantiated<T>
    {
        // Instantiations over value types share no code: each is compiled separately.
        [MethodImpl(MethodImplOptions.NoInlining)]
        public static int Size(int round)
        {
            return Unsafe.SizeOf<T>() + Unsafe.SizeOf<(T, byte)>() + round;
        }
    }

    private static long Generics(int round)
    {
        long sum = 0;
        Type type = typeof(int);
        for (int i = 0; i < 10; ++i)
        {
            type = typeof(ValueTuple<,>).MakeGenericType(type, i % 2 == 0 ? typeof(long) : typeof(byte));
            MethodInfo size = typeof(Instantiated<>).MakeGenericType(type).GetMethod("Size")!;
            sum += (int)size.Invoke(null, new object[] { round })!;
        }
        return sum;
    }

    private static long Compiled(int round)
    {
        ParameterExpression x = Expression.Parameter(typeof(int), "x");
        Expression body = x;
        for (int i = 0; i < 50; ++i)
        {
            body = Expression.Add(body, Expression.Constant(i));
        }
        return Expression.Lambda<Func<int, int>>(body, x).Compile()(round);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference Collectible()
    {
        var context = new AssemblyLoadContext("copy", isCollectible: true);
        Assembly copy = context.LoadFromAssemblyPath(typeof(LoadAssemblies).Assembly.Location);
        MethodInfo methods = copy.GetType(nameof(LoadAssemblies))!.GetMethod(
            nameof(DynamicMethods), BindingFlags.NonPublic | BindingFlags.Static)!;
        methods.Invoke(null, new object[] { 1 });
        context.Unload();
        return new WeakReference(context);
    }
}
