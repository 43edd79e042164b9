using System;
using System.IO;
using System.Xml.Serialization;

// GeneratedSerializers [COUNT]: makes XML serializers with ever new root elements and uses them. Each is its own
// assembly with generated types and code, which is never unloaded. Stops after COUNT (default: no end). Exit code: as in
// Ending.cs.
public static class GeneratedSerializers
{
    public sealed class Document
    {
        public int Number { get; set; }
        public string Name { get; set; } = "";
        public double[] Values { get; set; } = { 1, 2, 3 };
    }

    private static int Main(string[] args)
    {
        int count = args.Length > 0 ? int.Parse(args[0]) : int.MaxValue;
        return Ending.Of(() => Make(count));
    }

    private static void Make(int count)
    {
        for (int made = 0; made < count; ++made)
        {
            var serializer = new XmlSerializer(typeof(Document), new XmlRootAttribute("document" + made));
            serializer.Serialize(TextWriter.Null, new Document { Number = made });
        }
        Console.WriteLine("made " + count + " serializers");
    }
}
