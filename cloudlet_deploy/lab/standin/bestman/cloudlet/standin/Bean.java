package cloudlet.standin;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/** A value of a named SRM type for a reply: its fields in the order of the schema. */
final class Bean {
    /** A simple value that is not a string: SRM enumeration, number, URI. */
    static final class Simple {
        final String type;
        final String text;

        private Simple(String type, String text) {
            this.type = type;
            this.text = text;
        }
    }

    /** A named field; the value is a Bean, a Simple or a String. */
    static final class Field {
        final String name;
        final Object value;

        private Field(String name, Object value) {
            this.name = name;
            this.value = value;
        }
    }

    final String type;
    final List<Field> fields = new ArrayList<>();

    Bean(String type) {
        this.type = type;
    }

    /** Adds a field unless the value is null, which is how an optional field is left out. */
    Bean with(String name, Object value) {
        if (value != null) {
            fields.add(new Field(name, value));
        }
        return this;
    }

    /** An ArrayOf... type: one field name, repeated. */
    static Bean array(String type, String name, Collection<?> values) {
        Bean array = new Bean(type);
        values.forEach(value -> array.with(name, value));
        return array;
    }

    static Simple enumeration(String type, String text) {
        return new Simple("srm:" + type, text);
    }

    static Simple xsd(String type, Object value) {
        return new Simple("xsd:" + type, String.valueOf(value));
    }

    static Bean status(String code, String explanation) {
        return new Bean("TReturnStatus").with("statusCode", enumeration("TStatusCode", code))
                .with("explanation", explanation);
    }
}
