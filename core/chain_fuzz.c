// SPDX-License-Identifier: BSD-3-Clause
// Fuzz target of chain_description_read(): what it finds lies within the bytes that it was given.
#include <stdlib.h>

#include "core/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(const uint8_t *data, size_t size, const char *text, uint32_t len)
{
	const uint8_t *at = (const uint8_t *)text;

	if (at < data || at > data + size || len > (size_t)(data + size - at))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chain_description d;

	if (chain_description_read(data, (uint32_t)size, &d) != 0)
		return 0;
	within(data, size, d.text, d.text_len);
	if (d.n > CHAIN_NFS_MAX)
		abort();
	for (unsigned i = 0; i < d.n; i++)
		within(data, size, d.nf[i].name, d.nf[i].name_len);
	return 0;
}
