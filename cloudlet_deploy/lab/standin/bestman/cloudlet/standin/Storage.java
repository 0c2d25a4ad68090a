package cloudlet.standin;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** The file system as a mapped account may use it. Failures are the usual NIO exceptions. */
interface Storage {
    /** What srmLs tells of one file; {@code mode} holds the nine permission bits. */
    final class Entry {
        final String name;
        final String type;
        final long size;
        final long modified;
        final String owner;
        final String group;
        final int mode;

        /** {@code size} in bytes, {@code modified} in seconds since 1970. */
        Entry(String name, String type, long size, long modified, String owner, String group,
                int mode) {
            this.name = name;
            this.type = type;
            this.size = size;
            this.modified = modified;
            this.owner = owner;
            this.group = group;
            this.mode = mode;
        }

        boolean isDirectory() {
            return type.equals("DIRECTORY");
        }
    }

    Entry stat(String account, Path path) throws IOException;

    List<Entry> list(String account, Path directory) throws IOException;

    void makeDirectory(String account, Path path) throws IOException;

    void removeDirectory(String account, Path path) throws IOException;

    void removeFile(String account, Path path) throws IOException;
}
