//! Processed users as data of the schema `users.processed`.

use domain::{Before, ProcessedUser};
use events::avro::{put_double, put_long, put_nullable, put_str};

/// Appends a user, field by field in the schema's order.
pub(super) fn put(user: &ProcessedUser<'_>, out: &mut Vec<u8>) {
    // Every field by its name, so that none is forgotten.
    let ProcessedUser {
        id,
        run_id,
        country,
        registered_at,
        registered_month,
        bucket,
        fetched_at,
        country_name,
        gender,
        title,
        first_name,
        last_name,
        full_name,
        date_of_birth,
        age,
        age_band,
        email,
        email_domain,
        username,
        phone,
        cell,
        street,
        city,
        state,
        postcode,
        address,
        latitude,
        longitude,
        timezone_offset,
        timezone_description,
        document_name,
        document_value,
        picture_large,
        picture_medium,
        picture_thumbnail,
        before,
        op,
        lsn,
        commit_ts,
    } = user;
    put_str(id, out);
    put_str(run_id, out);
    put_str(country, out);
    put_long(*registered_at, out);
    put_str(registered_month.as_str(), out);
    put_long((*bucket).into(), out);
    put_nullable(*fetched_at, out, put_long);
    put_nullable(country_name.as_deref(), out, put_str);
    put_nullable(gender.as_deref(), out, put_str);
    put_nullable(title.as_deref(), out, put_str);
    put_nullable(first_name.as_deref(), out, put_str);
    put_nullable(last_name.as_deref(), out, put_str);
    put_nullable(full_name.as_deref(), out, put_str);
    put_nullable(*date_of_birth, out, put_long);
    put_nullable(age.map(i64::from), out, put_long);
    put_nullable(*age_band, out, put_str);
    put_nullable(email.as_deref(), out, put_str);
    put_nullable(email_domain.as_deref(), out, put_str);
    put_nullable(username.as_deref(), out, put_str);
    put_nullable(phone.as_deref(), out, put_str);
    put_nullable(cell.as_deref(), out, put_str);
    put_nullable(street.as_deref(), out, put_str);
    put_nullable(city.as_deref(), out, put_str);
    put_nullable(state.as_deref(), out, put_str);
    put_nullable(postcode.as_deref(), out, put_str);
    put_nullable(address.as_deref(), out, put_str);
    put_nullable(*latitude, out, put_double);
    put_nullable(*longitude, out, put_double);
    put_nullable(timezone_offset.as_deref(), out, put_str);
    put_nullable(timezone_description.as_deref(), out, put_str);
    put_nullable(document_name.as_deref(), out, put_str);
    put_nullable(document_value.as_deref(), out, put_str);
    put_nullable(picture_large.as_deref(), out, put_str);
    put_nullable(picture_medium.as_deref(), out, put_str);
    put_nullable(picture_thumbnail.as_deref(), out, put_str);
    put_nullable(before.as_ref(), out, put_before);
    put_str(op, out);
    put_long(*lsn, out);
    put_long(*commit_ts, out);
}

fn put_before(before: &Before<'_>, out: &mut Vec<u8>) {
    let Before { run_id, country, registered_at, registered_month, bucket } = before;
    put_str(run_id, out);
    put_str(country, out);
    put_long(*registered_at, out);
    put_str(registered_month.as_str(), out);
    put_long((*bucket).into(), out);
}
