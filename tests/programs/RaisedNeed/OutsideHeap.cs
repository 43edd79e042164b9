using System;
using System.Collections.Generic;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Threading;

// Memory that the runtime takes outside of the GC's heap. Prepare makes the managed objects for it. Take then needs next
// to nothing of the heap.
internal abstract class OutsideHeap
{
    // Uses about another MiB.
    public abstract void Take(int mebibyte);

    public static OutsideHeap Prepare(string kind, int mebibytes)
    {
        return kind switch
        {
            "code" => new Code(mebibytes),
            "types" => new Types(mebibytes),
            "native" => new NativeBlocks(mebibytes),
            _ => throw new ArgumentException(kind),
        };
    }


    // Compiles one long generic method for other and other value types: they share no code.
    private sealed class Code : OutsideHeap
    {
        private const int PerMebibyte = 16;
        private const int Operations = 2800;  // about 64 KiB of code
        private readonly RuntimeMethodHandle method_;
        private readonly RuntimeTypeHandle[][] arguments_;

        private struct Key<First, Second>
        {
        }

        public Code(int mebibytes)
        {
            ModuleBuilder module = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("Long"), AssemblyBuilderAccess.Run)
                                       .DefineDynamicModule("Long");
            TypeBuilder type = module.DefineType("Long", TypeAttributes.Public);
            MethodBuilder method = type.DefineMethod("Run", MethodAttributes.Public | MethodAttributes.Static,
                                                     typeof(long), new[] { typeof(long) });
            method.DefineGenericParameters("T");
            ILGenerator il = method.GetILGenerator();
            il.Emit(OpCodes.Ldarg_0);
            for (int i = 0; i < Operations; ++i)
            {
                il.Emit(OpCodes.Ldc_I8, 0x1234567890L + i);
                il.Emit(i % 2 == 0 ? OpCodes.Xor : OpCodes.Mul);
                il.Emit(OpCodes.Starg_S, (byte)0);
                il.Emit(OpCodes.Ldarg_0);
            }
            il.Emit(OpCodes.Ret);
            method_ = type.CreateType()!.GetMethod("Run")!.MethodHandle;

            var keys = new List<Type> { typeof(byte), typeof(int), typeof(long) };
            for (int first = 0; keys.Count < mebibytes * PerMebibyte; ++first)
            {
                for (int second = 0; second <= first; ++second)
                {
                    keys.Add(typeof(Key<,>).MakeGenericType(keys[first], keys[second]));
                }
            }
            arguments_ = new RuntimeTypeHandle[mebibytes * PerMebibyte][];
            for (int i = 0; i < arguments_.Length; ++i)
            {
                arguments_[i] = new[] { keys[i].TypeHandle };
            }
        }

        public override void Take(int mebibyte)
        {
            for (int i = 0; i < PerMebibyte; ++i)
            {
                RuntimeHelpers.PrepareMethod(method_, arguments_[mebibyte * PerMebibyte + i]);
            }
        }
    }

    // Loads value types with many methods over other value types: they share no tables. A generic method names them, so
    // the heap gets no objects for them.
    private sealed class Types : OutsideHeap
    {
        private const int Depth = 8;  // about 1 MiB
        private readonly List<Action<int>> loads_ = new();

        private struct Node<First, Second>
        {
            public void A0() { } public void A1() { } public void A2() { } public void A3() { } public void A4() { }
            public void B0() { } public void B1() { } public void B2() { } public void B3() { } public void B4() { }
            public void C0() { } public void C1() { } public void C2() { } public void C3() { } public void C4() { }
            public void D0() { } public void D1() { } public void D2() { } public void D3() { } public void D4() { }
        }

        public Types(int mebibytes)
        {
            MethodInfo load = typeof(Types).GetMethod(nameof(Load), BindingFlags.NonPublic | BindingFlags.Static)!;
            Type seed = typeof(int);
            for (int i = 0; i < mebibytes; ++i)
            {
                loads_.Add(load.MakeGenericMethod(seed, typeof(long)).CreateDelegate<Action<int>>());
                seed = typeof(ValueTuple<>).MakeGenericType(seed);
            }
        }

        public override void Take(int mebibyte)
        {
            loads_[mebibyte](Depth);
        }

        private static void Load<First, Second>(int depth)
        {
            if (depth > 0)
            {
                Load<Node<First, Second>, Second>(depth - 1);
                Load<Node<Second, First>, First>(depth - 1);
            }
        }
    }

    // An object that has a hash code and was locked has a block among the runtime's native ones.
    private sealed class NativeBlocks : OutsideHeap
    {
        private const int PerMebibyte = 8 * 1024;
        private readonly object[] objects_;

        public NativeBlocks(int mebibytes)
        {
            objects_ = new object[mebibytes * PerMebibyte];
            for (int i = 0; i < objects_.Length; ++i)
            {
                objects_[i] = new object();
            }
        }

        public override void Take(int mebibyte)
        {
            for (int i = 0; i < PerMebibyte; ++i)
            {
                object one = objects_[mebibyte * PerMebibyte + i];
                RuntimeHelpers.GetHashCode(one);
                Monitor.Enter(one);
                Monitor.Exit(one);
            }
        }
    }
}
