package cloudlet.standin;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.FileSystemException;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;

/** The file system as the door's own user sees it, whatever the account. */
final class DirectStorage implements Storage {
    @Override
    public Entry stat(String account, Path path) throws IOException {
        return entry(path);
    }

    @Override
    public List<Entry> list(String account, Path directory) throws IOException {
        List<Entry> entries = new ArrayList<>();
        try (DirectoryStream<Path> children = Files.newDirectoryStream(directory)) {
            for (Path child : children) {
                try {
                    entries.add(entry(child));
                } catch (NoSuchFileException e) {
                    // Removed since the directory was read: it is not there any more.
                    continue;
                }
            }
        }
        entries.sort(Comparator.comparing(entry -> entry.name));
        return entries;
    }

    @Override
    public void makeDirectory(String account, Path path) throws IOException {
        Files.createDirectory(path);
    }

    @Override
    public void removeDirectory(String account, Path path) throws IOException {
        if (!Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
            throw Files.exists(path) ? new NotDirectoryException(path.toString())
                    : new NoSuchFileException(path.toString());
        }
        Files.delete(path);
    }

    @Override
    public void removeFile(String account, Path path) throws IOException {
        if (Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
            throw new FileSystemException(path.toString(), null, "is a directory");
        }
        Files.delete(path);
    }

    private static Entry entry(Path path) throws IOException {
        PosixFileAttributes attributes;
        try {
            attributes = Files.readAttributes(path, PosixFileAttributes.class);
        } catch (NoSuchFileException e) {
            // A link that leads nowhere is shown as itself.
            attributes = Files.readAttributes(path, PosixFileAttributes.class,
                    LinkOption.NOFOLLOW_LINKS);
        }
        String type = attributes.isDirectory() ? "DIRECTORY"
                : attributes.isSymbolicLink() ? "LINK" : "FILE";
        Path name = path.getFileName();
        return new Entry(name == null ? "/" : name.toString(), type, attributes.size(),
                attributes.lastModifiedTime().toMillis() / 1000, attributes.owner().getName(),
                attributes.group().getName(), bits(attributes.permissions()));
    }

    private static int bits(Set<PosixFilePermission> permissions) {
        int mode = 0;
        for (PosixFilePermission permission : permissions) {
            // The enumeration runs from OWNER_READ to OTHERS_EXECUTE, as the bits do.
            mode |= 0400 >> permission.ordinal();
        }
        return mode;
    }
}
